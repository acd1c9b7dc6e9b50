package dashboard

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
)

// Guard lets on only what a page of this very address asks, or a program: a
// name that a stranger made to mean loopback is refused, as are other pages.
func Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
		opened := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" // by a link: who has it sees nothing
		switch {
		case !loopback(r.Host):
			http.Error(w, "open it as 127.0.0.1 or localhost: other names may be someone else's", http.StatusForbidden)
		case origin != "" && origin != "http://"+r.Host:
			http.Error(w, "other pages may not ask this one", http.StatusForbidden)
		case site != "" && site != "same-origin" && site != "none" && !opened:
			http.Error(w, "other pages may not ask this one", http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "there is nothing here to change", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// loopback says whether a Host header is an address of this machine's own.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// known lets on who says a scheme and its secret, which is not empty.
func known(secret string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(secret, " ") || !same(r.Header.Get("Authorization"), secret) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token is not right: open the address that weft dashboard printed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// strangers is what pages that a pod's Envoy answers may do: reach nothing elsewhere.
const strangers = "default-src 'self' 'unsafe-inline' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Below serves pages at /TOKEN/ alone: pages whose links are relative, and that can
// send no token themselves. /ONCE/ leads there, one time.
func Below(token, once string, next http.Handler) http.Handler {
	inside, used := http.StripPrefix("/"+token, next), atomic.Bool{}
	return framed(strangers, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); {
		case same(first, token):
			inside.ServeHTTP(w, r)
		case same(first, once) && !used.Swap(true):
			http.Redirect(w, r, "/"+token+"/", http.StatusSeeOther)
		default:
			http.Error(w, "the token is not right: open the address that weft dashboard printed", http.StatusUnauthorized)
		}
	}))
}

// same compares what was said with a secret, which is not empty.
func same(said, secret string) bool {
	a, b := sha256.Sum256([]byte(said)), sha256.Sum256([]byte(secret)) // of one length, whatever is said
	return secret != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// policy is what the page may do: nothing from elsewhere, no script in the text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// framed adds what browsers are told of every answer: what its pages may do, and more.
func framed(policy string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store") // figures are of now, and files of this build
		next.ServeHTTP(w, r)
	})
}
