// Package interop lets other people's programs be the referee: Debian's mail
// clients and servers against the real binary. Its tests have the build tag
// interop; `make interop` runs them, and a program that is missing is a failure.
package interop
