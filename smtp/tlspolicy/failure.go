package tlspolicy

import (
	"crypto/x509"
	"errors"
	"strings"
	"time"
)

// certificateFailure names what is wrong with a certificate (RFC 8460 section 4.3.1).
func certificateFailure(err error) string {
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &host):
		return "certificate-host-mismatch"
	case errors.As(err, &unknown):
		return "certificate-not-trusted"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate-expired"
	case errors.As(err, &invalid):
		return "certificate-not-trusted"
	}
	return "validation-failure"
}

// certificateReason says it in words for people who do not run the host.
func certificateReason(err error, host string, now time.Time) string {
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	const day = "2 January 2006"
	switch {
	case errors.As(err, &name):
		return "the certificate is not for " + host
	case errors.As(err, &unknown):
		return "the certificate is signed by nobody who is trusted here"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.After(invalid.Cert.NotAfter):
		return "the certificate expired on " + invalid.Cert.NotAfter.UTC().Format(day)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate is not valid before " + invalid.Cert.NotBefore.UTC().Format(day)
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

// FailureType names any error of a connection in the words of TLS reports: an *Error's own, else that of STARTTLS.
func FailureType(err error) string {
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Type
	}
	return "validation-failure"
}
