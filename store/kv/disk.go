package kv

// DiskSize and DiskFree are the octets of the file system that the folder is on, in all and still to be had.
func (db *DB) DiskSize() (int64, error) { return db.o.FS.Capacity(db.o.Dir) }
func (db *DB) DiskFree() (int64, error) { return db.o.FS.Free(db.o.Dir) }
