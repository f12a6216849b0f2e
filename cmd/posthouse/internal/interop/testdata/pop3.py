"""poplib against the POP3 ports; arguments: CA file, port offset."""
import poplib, ssl, sys

ca, offset = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile=ca)
user, password = "bob@alpha.test", "posthouse"

p = poplib.POP3("localhost", 1110 + offset)
assert "STLS" in p.capa(), p.capa()
try:
    p.user(user), p.pass_(password)
    raise AssertionError("a password was taken in clear")
except poplib.error_proto:
    pass
p.stls(context=context)
capa = p.capa()
for c in ("TOP", "UIDL", "USER", "SASL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "UTF8", "IMPLEMENTATION"):
    assert c in capa, (c, capa)
p.user(user)
p.pass_(password)
assert p.stat()[0] == 3, p.stat()
uidls = [l.split()[1] for l in p.uidl()[1]]
assert len(set(uidls)) == 3
p.dele(1)
p.rset()
p.dele(2)
p.close()  # dropped: nothing is deleted

p = poplib.POP3_SSL("localhost", 1995 + offset, context=context)
p.utf8()
p.user(user)
p.pass_(password)
assert p.stat()[0] == 3, p.stat()
assert [l.split()[1] for l in p.uidl()[1]] == uidls, "UIDLs moved"
sizes = [int(l.split()[1]) for l in p.list()[1]]
for n in (1, 2, 3):
    _, lines, octets = p.retr(n)
    assert sum(len(l) + 2 for l in lines) == sizes[n - 1], (n, octets, sizes)
    assert b".a dot first" in lines
_, head, _ = p.top(3, 0)
assert any(l.startswith(b"Subject: poplib") for l in head) and b"A line." not in head
p.dele(2)
try:
    p.retr(2)
    raise AssertionError("a deleted message was given out")
except poplib.error_proto:
    pass
p.quit()
