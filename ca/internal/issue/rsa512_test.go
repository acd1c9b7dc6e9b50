package issue

// rsa512CSR is a request for an RSA key of 512 bits, which Go itself does not make
// (openssl req -newkey rsa:512).
const rsa512CSR = `-----BEGIN CERTIFICATE REQUEST-----
MIHFMHECAQAwDDEKMAgGA1UEAwwBeDBcMA0GCSqGSIb3DQEBAQUAA0sAMEgCQQDp
fgB54WtagBAyW4cV5/4Pt4yCP7wm2ZAnUK+sPYxKi7mI5Gsju3ME9rQE5pASxrO/
WPvc0ycPAuBj5XZPRGijAgMBAAGgADANBgkqhkiG9w0BAQsFAANBALAcGd7iJ46k
4CbCBJi8heri+1fneaZQLMdg5REPxk9BUTN2iII6gh6nlUPmeJQp7MwcBTex0Xb/
ZIWtYYSuUvQ=
-----END CERTIFICATE REQUEST-----
`
