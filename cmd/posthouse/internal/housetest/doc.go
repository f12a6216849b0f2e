// Package housetest tries the whole house in one process: every door, the
// queue, a DNS of its own, and two houses that mail each other. It has tests only.
package housetest
