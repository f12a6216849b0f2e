package tlspolicy

import (
	"crypto/x509"
	"errors"
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

// FailureType names any error of a connection in the words of TLS reports: an *Error's own, else that of STARTTLS.
func FailureType(err error) string {
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Type
	}
	return "validation-failure"
}
