package compile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Bounds of a key set: every proxy reads it with its listeners.
const (
	maxKeys     = 256 << 10 // bytes
	maxFetched  = 1 << 20   // bytes of a set that is fetched, with the certificates of its keys
	maxKeyCount = 100
)

// webKey is what is read of a JSON Web Key.
// Source: RFC 7517, RFC 7518, RFC 8037.
type webKey struct {
	Kty string `json:"kty"`
	Use string `json:"use,omitempty"`
	Alg string `json:"alg,omitempty"`
	Kid string `json:"kid,omitempty"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	// D is the private part, which is never passed on.
	D string `json:"d,omitempty"`
}

// publicKeys checks a JSON Web Key Set (RFC 7517) and gives those of its keys
// that verify signatures of others, in a form that depends on nothing else: a
// symmetric key in a set that is public would let everyone sign. left says which
// were left out; most bounds the text, in bytes.
func publicKeys(text string, most int) (keys string, left []string, err error) {
	if len(text) > most {
		return "", nil, fmt.Errorf("the key set has %d bytes, at most %d are allowed", len(text), most)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return "", nil, fmt.Errorf("it is no JSON Web Key Set: %w", err)
	}
	if len(set.Keys) > maxKeyCount {
		return "", nil, fmt.Errorf("the key set has %d keys, at most %d are allowed", len(set.Keys), maxKeyCount)
	}
	var good struct {
		Keys []webKey `json:"keys"`
	}
	for i, raw := range set.Keys {
		var key webKey
		if err := json.Unmarshal(raw, &key); err != nil {
			left = append(left, fmt.Sprintf("keys[%d] is no JSON Web Key", i))
		} else if err := key.check(); err != nil {
			left = append(left, fmt.Sprintf("keys[%d] %v", i, err))
		} else if key.Use != "enc" { // it is for other things than signatures
			good.Keys = append(good.Keys, key)
		}
	}
	if len(good.Keys) == 0 {
		return "", left, errors.New("the key set has no public key for signatures (kty RSA, EC or OKP)")
	}
	out, err := json.Marshal(good)
	if len(out) > maxKeys {
		return "", left, fmt.Errorf("the keys have %d bytes, at most %d are allowed", len(out), maxKeys)
	}
	return string(out), left, err
}

// CheckKeys says why a JSON Web Key Set that was fetched cannot be used.
func CheckKeys(text string) error {
	_, _, err := publicKeys(text, maxFetched)
	return err
}

// check says why no signature can be trusted that the key verifies, or why
// Envoy would not take it; and writes its numbers as Envoy reads them.
func (k *webKey) check() error {
	if k.D != "" {
		return errors.New("has its private part (d): whoever reads it can sign; replace the key")
	}
	switch k.Kty {
	case "RSA":
		return k.checkRSA()
	case "EC":
		return k.checkEC()
	case "OKP":
		return k.checkOKP()
	case "oct":
		return errors.New("is symmetric (kty oct): who can verify by it can sign, too")
	}
	return fmt.Errorf("is of an unknown type (kty %q)", k.Kty)
}

func (k *webKey) checkRSA() error {
	n, okN := keyBytes(&k.N)
	e, okE := keyBytes(&k.E)
	bits, exponent := new(big.Int).SetBytes(n).BitLen(), new(big.Int).SetBytes(e)
	switch {
	case !okN || !okE:
		return errors.New("has no n and e in base64url")
	case k.Alg != "" && !strings.HasPrefix(k.Alg, "RS") && !strings.HasPrefix(k.Alg, "PS"):
		return fmt.Errorf("is an RSA key for alg %s", k.Alg)
	case bits < 2048 || bits > 8192:
		return fmt.Errorf("has %d bits; 2048 to 8192 are allowed", bits)
	case n[len(n)-1]&1 == 0 || !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > 1<<32 || exponent.Int64()&1 == 0:
		return errors.New("is no RSA key")
	}
	return nil
}

// curves are those that Envoy knows, with the algorithm of each.
var curves = map[string]struct {
	curve elliptic.Curve
	alg   string
}{"P-256": {elliptic.P256(), "ES256"}, "P-384": {elliptic.P384(), "ES384"}, "P-521": {elliptic.P521(), "ES512"}}

func (k *webKey) checkEC() error {
	c, ok := curves[k.Crv]
	if !ok {
		return fmt.Errorf("is on an unknown curve (crv %q)", k.Crv)
	}
	if k.Alg != "" && k.Alg != c.alg {
		return fmt.Errorf("is on curve %s, for alg %s", k.Crv, k.Alg)
	}
	x, okX := keyBytes(&k.X)
	y, okY := keyBytes(&k.Y)
	size := (c.curve.Params().BitSize + 7) / 8
	if !okX || !okY || len(x) > size || len(y) > size {
		return errors.New("has no x and y in base64url")
	}
	point := make([]byte, 1+2*size)
	point[0] = 4
	copy(point[1+size-len(x):], x)
	copy(point[1+2*size-len(y):], y)
	if _, err := ecdsa.ParseUncompressedPublicKey(c.curve, point); err != nil {
		return fmt.Errorf("is no point of curve %s", k.Crv)
	}
	k.X, k.Y = base64.RawURLEncoding.EncodeToString(point[1:1+size]), base64.RawURLEncoding.EncodeToString(point[1+size:])
	return nil
}

func (k *webKey) checkOKP() error {
	x, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.X, "="))
	k.X = base64.RawURLEncoding.EncodeToString(x)
	switch {
	case k.Crv != "Ed25519":
		return fmt.Errorf("is on an unknown curve (crv %q)", k.Crv)
	case k.Alg != "" && k.Alg != "EdDSA":
		return fmt.Errorf("is on curve %s, for alg %s", k.Crv, k.Alg)
	case err != nil || len(x) != 32:
		return errors.New("has no x of 32 bytes in base64url")
	}
	return nil
}

// keyBytes reads a number, and writes it in the form of RFC 7518.
func keyBytes(text *string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*text, "="))
	if err != nil || len(raw) == 0 {
		return nil, false
	}
	raw = bytes.TrimLeft(raw, "\x00")
	if len(raw) == 0 {
		return nil, false
	}
	*text = base64.RawURLEncoding.EncodeToString(raw)
	return raw, true
}
