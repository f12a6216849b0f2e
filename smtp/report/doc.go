// Package report makes, sends and reads the reports that mail hosts owe each
// other about what they see of a domain: DMARC aggregate reports (RFC 7489)
// and TLS reports (RFC 8460); and it writes the weekly letter that tells the
// postmaster in plain words what they say.
//
// Start at DMARCSender and TLSSender, which send what smtp/dmarcbook and
// smtp/tlsbook have counted, at Reader, which takes what others sent, and at
// Letter. dmarc.go and tlsrpt.go are the forms, unpack.go finds a report in a
// message, dmarcread.go and tlsread.go are the bounded readers.
package report
