package simulate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
)

// webKey is a JSON Web Key. Source: RFC 7517, RFC 7518.
type webKey struct{ Kty, Alg, Kid, N, E, Crv, X, Y string }

// algorithms are those that Envoy knows.
var algorithms = []string{"ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}

// unsigned says why none of a set's keys made the signature of a token; "" where
// one did. A key that names itself differently is not asked.
func unsigned(alg, kid string, parts []string, set string) string {
	var keys struct{ Keys []webKey }
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if json.Unmarshal([]byte(set), &keys) != nil || err != nil {
		return "Jwt verification fails"
	}
	why := "Jwks doesn't have key to match kid or alg from Jwt"
	digest := sha256.Sum256([]byte(strings.Join(parts[:2], ".")))
	for _, k := range keys.Keys {
		if kid != "" && k.Kid != "" && k.Kid != kid || k.Alg != "" && k.Alg != alg || k.Kty != kinds[alg[:2]] {
			continue
		}
		why = "Jwt verification fails"
		if alg == "RS256" && k.rsa(digest[:], signature) || alg == "ES256" && k.ecdsa(digest[:], signature) {
			return ""
		}
	}
	return why
}

// kinds of keys by the beginning of the algorithm.
var kinds = map[string]string{"ES": "EC", "RS": "RSA", "PS": "RSA", "HS": "oct", "Ed": "OKP"}

func number(text string) *big.Int {
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	return new(big.Int).SetBytes(raw)
}

func (k webKey) rsa(digest, signature []byte) bool {
	if k.Kty != "RSA" {
		return false
	}
	public := &rsa.PublicKey{N: number(k.N), E: int(number(k.E).Int64())}
	return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest, signature) == nil
}

func (k webKey) ecdsa(digest, signature []byte) bool {
	if k.Kty != "EC" || k.Crv != "P-256" || len(signature) != 64 {
		return false
	}
	public := &ecdsa.PublicKey{Curve: elliptic.P256(), X: number(k.X), Y: number(k.Y)}
	return ecdsa.Verify(public, digest, new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}
