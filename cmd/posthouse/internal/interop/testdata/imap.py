"""imaplib against the IMAP ports; arguments: CA file, port offset."""
import imaplib, ssl, sys, time

ca, offset = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile=ca)

def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]

plain = imaplib.IMAP4("localhost", 1143 + offset)
assert "LOGINDISABLED" in plain.capabilities, plain.capabilities
ok(plain.starttls(context))
ok(plain.login("bob@alpha.test", "posthouse"))
ok(plain.logout() and ("OK", 0))

m = imaplib.IMAP4_SSL("localhost", 1993 + offset, ssl_context=context)
try:
    m.login("bob@alpha.test", "wrong")
    raise AssertionError("a wrong password was taken")
except imaplib.IMAP4.error:
    pass
ok(m.authenticate("PLAIN", lambda _: b"\0bob@alpha.test\0posthouse"))
for cap in ("IMAP4REV1", "IMAP4REV2", "IDLE", "UIDPLUS", "MOVE", "CONDSTORE", "ESEARCH", "SPECIAL-USE", "LITERAL+"):
    assert cap in m.capabilities or cap in str(m.capability()), (cap, m.capabilities)
assert ok(m.select("INBOX")) == [b"3"]
assert ok(m.search(None, "ALL"))[0].split() == [b"1", b"2", b"3"]
assert ok(m.search(None, "SUBJECT", '"imaplib 1"'))[0] == b"2"
data = ok(m.fetch("1:3", "(UID FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE)"))
assert len(data) == 3 and b"ENVELOPE" in data[0], data
data = ok(m.fetch("2", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT]<0.7>)"))
assert b"Subject: imaplib 1" in data[0][1] and data[1][1] == b"A line.", data
data = ok(m.fetch("1", "(RFC822)"))
assert len(data[0][1]) > 1000
assert b"\\Seen" in ok(m.fetch("1", "(FLAGS)"))[0]
ok(m.store("2", "+FLAGS", "(\\Flagged work)"))
assert ok(m.search(None, "KEYWORD", "work"))[0] == b"2"
ok(m.create("Ablage/Gr&APwA3w-e"))
names = b"\n".join(ok(m.list()))
assert b"Ablage/Gr&APwA3w-e" in names, names
ok(m.subscribe("Ablage/Gr&APwA3w-e"))
assert any(b"Gr&APwA3w-e" in l for l in ok(m.lsub()))
ok(m.append("Ablage/Gr&APwA3w-e", "(\\Seen)", imaplib.Time2Internaldate(time.time()), b"Subject: appended\r\n\r\nbody\r\n"))
assert b"MESSAGES 1" in ok(m.status("Ablage/Gr&APwA3w-e", "(MESSAGES UIDNEXT UNSEEN)"))[0]
ok(m.copy("1", "Ablage/Gr&APwA3w-e"))
ok(m.rename("Ablage", "Keller"))
assert b"MESSAGES 2" in ok(m.status("Keller/Gr&APwA3w-e", "(MESSAGES)"))[0]
ok(m.uid("MOVE", "2", "Archive"))
assert ok(m.search(None, "ALL"))[0].split() == [b"1", b"2"]
ok(m.store("1", "+FLAGS", "\\Deleted"))
assert ok(m.expunge()) == [b"2", b"1"]  # imaplib keeps the EXPUNGE of MOVE until it is asked
ok(m.delete("Keller/Gr&APwA3w-e"))
ok(m.noop())
ok(m.close())
ok(m.unselect() if hasattr(m, "unselect") and m.state == "SELECTED" else ("OK", 0))
m.logout()
