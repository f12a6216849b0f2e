// Package bench is the load side of the house: load and mailgen are neutral
// clients and mail that know no server, house runs the real binary for them, compare sets it
// beside Debian's Postfix and Dovecot, crash kills it, siege lets hostile clients at it. Tests and developers only.
package bench
