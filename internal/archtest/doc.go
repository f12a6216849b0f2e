// Package archtest holds the plan of the house against its code: who may import
// whom, how long a file, a function and a parameter list may be, that nothing is global, and that the
// documents name what exists. It has tests only.
package archtest
