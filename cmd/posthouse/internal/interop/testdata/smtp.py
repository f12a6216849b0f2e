"""smtplib against the submission ports; arguments: CA file, port offset."""
import smtplib, ssl, sys
from email.message import EmailMessage

ca, offset = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile=ca)

def mail(subject, body):
    m = EmailMessage()
    m["From"], m["To"], m["Subject"] = "alice@alpha.test", "carol@beta.test", subject
    m["Bcc"] = "bob@alpha.test"
    m.set_content(body)
    return m

with smtplib.SMTP_SSL("localhost", 1465 + offset, context=context) as s:
    s.login("alice@alpha.test", "posthouse")
    s.send_message(mail("smtplib tls", "Grüße\n.\n..dots\n" + "x" * 3000), to_addrs=["carol@beta.test"])
    s.send_message(mail("smtplib again", "second on one connection"), to_addrs=["carol@beta.test"])
with smtplib.SMTP("localhost", 1587 + offset) as s:
    s.ehlo()
    assert not s.has_extn("auth"), "AUTH before STARTTLS"
    s.starttls(context=context)
    s.ehlo()
    for ext in ("size", "8bitmime", "pipelining", "smtputf8", "chunking", "dsn", "enhancedstatuscodes", "auth"):
        assert s.has_extn(ext), ext
    try:
        s.login("alice@alpha.test", "wrong")
        raise AssertionError("a wrong password was taken")
    except smtplib.SMTPAuthenticationError as e:
        assert e.smtp_code == 535, e
    s.login("alice@alpha.test", "posthouse")
    refused = s.send_message(mail("smtplib starttls", "third"), to_addrs=["carol@beta.test", "nobody@alpha.test"])
    assert list(refused) == ["nobody@alpha.test"] and refused["nobody@alpha.test"][0] == 550, refused
with smtplib.SMTP("localhost", 1025 + offset) as s:
    s.ehlo()
    assert not s.has_extn("auth"), "AUTH on port 25"
    assert s.verify("alice@alpha.test")[0] == 252
