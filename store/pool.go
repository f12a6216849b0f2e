package store

// Pool names a group of accounts whose usage is counted and limited together, as those of one domain; 0 is no group.
type Pool uint32

// leavePool takes what the account holds out of its group.
func (m *mutation) leavePool(a *account) {}
