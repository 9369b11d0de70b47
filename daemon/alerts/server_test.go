package alerts

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const good = `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"rebootd":"life"},"value":[1764230400.5,"1764230390"]}]}}`

func serverAt(t testing.TB, url string) *Server {
	t.Helper()
	u, err := ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{URL: u}
}

// What is asked, and what comes of a good answer.
func TestQuery(t *testing.T) {
	var got *http.Request
	var form string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, form = r, string(body)
		fmt.Fprint(w, good)
	}))
	defer s.Close()
	server := serverAt(t, s.URL+"/select/0/prometheus/")
	server.Header = http.Header{"X-Scope-Orgid": {"a|b"}}
	answer, err := server.Query(t.Context(), `up{a="b"}`)
	if err != nil || len(answer) != 1 || answer[0].Value != 1764230390 || answer[0].Labels["rebootd"] != "life" || answer[0].At.UnixMilli() != 1764230400500 {
		t.Errorf("%+v, %v", answer, err)
	}
	if got.Method != http.MethodPost || got.URL.Path != "/select/0/prometheus/api/v1/query" || got.URL.RawQuery != "" {
		t.Errorf("%s %s", got.Method, got.URL)
	}
	if form != "query=up%7Ba%3D%22b%22%7D&timeout=10s" || got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("%s %v", form, got.Header)
	}
	if got.Header.Get("X-Scope-OrgID") != "a|b" || got.Header.Get("Authorization") != "" {
		t.Errorf("%v", got.Header)
	}
}

// An endpoint that lies, or answers for something else, is told of in a sentence, and
// nothing of what it says is believed.
func TestBadAnswers(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		fmt.Fprint(w, good)
	}))
	defer other.Close()
	vector := func(result string) string {
		return `{"status":"success","data":{"resultType":"vector","result":` + result + `}}`
	}
	with := func(more string) string { return strings.Replace(good, `"data"`, more+`,"data"`, 1) }
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"empty", 200, "", "not what Prometheus answers: unexpected end of JSON input"},
		{"a page", 200, "<html>\n<title>Sign in</title>", "not what Prometheus answers: invalid character '<'"},
		{"null", 200, "null", `the status of the answer is ""`},
		{"another service", 200, `{"kind":"Status","status":"Failure"}`, `the status of the answer is "Failure"`},
		{"more than one", 200, good + good, "not what Prometheus answers"},
		{"cut", 200, good[:len(good)-5], "not what Prometheus answers"},
		{"error with 200", 200, `{"status":"error","error":"out of\nmemory"}`, `the status of the answer is "error": out of memory`},
		{"partial", 200, with(`"isPartial":true`), "the answer is partial"},
		{"warnings", 200, with(`"warnings":["store\u001b[31m down","b"]`), "it warns: store[31m down"},
		{"a matrix", 200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`, `of the type "matrix"`},
		{"a scalar", 200, `{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}`, "not what Prometheus answers"},
		{"no data", 200, `{"status":"success"}`, `of the type ""`},
		{"no result", 200, `{"status":"success","data":{"resultType":"vector"}}`, "the answer has no result"},
		{"NaN", 200, vector(`[{"metric":{},"value":[1,"NaN"]}]`), "not a time"},
		{"+Inf", 200, vector(`[{"metric":{},"value":[1,"+Inf"]}]`), "not a time"},
		{"huge", 200, vector(`[{"metric":{},"value":[1,"1e300"]}]`), "not a time"},
		{"of no time", 200, vector(`[{"metric":{},"value":[1e300,"1"]}]`), "not a time"},
		{"before time", 200, vector(`[{"metric":{},"value":[-5,"1"]}]`), "not a time"},
		{"no number", 200, vector(`[{"metric":{},"value":[1,"x"]}]`), "not a time"},
		{"a bare number", 200, vector(`[{"metric":{},"value":[1,2]}]`), "a series without a value"},
		{"a histogram", 200, vector(`[{"metric":{},"histogram":[1,{"count":"1"}]}]`), "a series without a value"},
		{"three values", 200, vector(`[{"metric":{},"value":[1,"2","3"]}]`), "a series without a value"},
		{"a label that is none", 200, vector(`[{"metric":{"a":1},"value":[1,"2"]}]`), "not what Prometheus answers"},
		{"bad query", 400, `{"status":"error","errorType":"bad_data","error":"1:1: parse error"}`, "it answers 400 Bad Request: 1:1: parse error"},
		{"unauthorized", 401, "secret?", "it answers 401 Unauthorized"},
		{"success with 503", 503, good, "it answers 503 Service Unavailable"},
		{"no content", 204, "", "it answers 204 No Content"},
		{"partial content", 206, good, "it answers 206"},
		{"redirect", 302, "", "it redirects (302), and redirects are not followed"},
		{"redirect of a POST", 307, "", "it redirects (307), and redirects are not followed"},
		{"10 MB", 200, strings.Repeat(" ", 10<<20) + good, "the answer is larger than 1048576 bytes"},
		{"as much as may be", 200, strings.Repeat(" ", maxAnswer-len(good)) + good, ""},
		{"one more", 200, strings.Repeat(" ", maxAnswer-len(good)+1) + good, "the answer is larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", other.URL)
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer s.Close()
			answer, err := serverAt(t, s.URL).Query(t.Context(), "up")
			if tt.want == "" {
				if err != nil || len(answer) != 1 {
					t.Errorf("%v, %v", answer, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "POST "+s.URL+"/api/v1/query: ") || answer != nil {
				t.Errorf("%v, %v; want %s", answer, err, tt.want)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// Of an answer without an end no more is read than is needed to see that it is too large.
func TestEndlessAnswer(t *testing.T) {
	sent := make(chan int, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := 0
		defer func() { sent <- n }()
		for chunk := bytes.Repeat([]byte(" "), 64<<10); n < 1<<30; n += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	if _, err := serverAt(t, s.URL).Query(t.Context(), "up"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
	if n := <-sent; n > 64<<20 { // the kernel takes some
		t.Errorf("%d bytes were taken", n)
	}
}

// A bomb of zeros is not unpacked into memory.
func TestPackedAnswer(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 8 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}))
	defer s.Close()
	if _, err := serverAt(t, s.URL).Query(t.Context(), "up"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
}

// What cannot be reached, closes at once or says nothing is told of by the same words each
// time, and in time.
func TestNoAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		serve func(net.Conn) // nil: nobody listens
		want  string
	}{
		"refused": {nil, "connection refused"},
		"closed":  {func(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) }, "EOF"},
		"not HTTP": {func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
		}, "malformed HTTP response"},
		"reset": {func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_ = c.(*net.TCPConn).SetLinger(0)
		}, "read: connection reset by peer"},
		"long headers": {func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("x", 1<<20))
		}, "headers exceeded"},
		"cut": {func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
		}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if tt.serve == nil {
				_ = l.Close()
			} else {
				defer l.Close()
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						tt.serve(c)
						_ = c.Close()
					}
				}()
			}
			server := serverAt(t, "http://"+l.Addr().String())
			_, err = server.Query(t.Context(), "up")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %s", err, tt.want)
			}
			if _, second := server.Query(t.Context(), "up"); second == nil || second.Error() != err.Error() {
				t.Errorf("first %v, then %v", err, second)
			}
		})
	}
}

// Whoever takes the request and does not answer, or one byte at a time, is waited for no
// longer than the time limit.
func TestSlowAnswers(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"hangs": func(net.Conn) {},
		"a byte each second": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for range 100 {
				if _, err := io.WriteString(c, " "); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		},
		"headers without an end": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for range 100 {
				if _, err := io.WriteString(c, "A: b\r\n"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := serverAt(t, "http://prometheus")
				server.dial = func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go func() {
						r := bufio.NewReader(theirs)
						_, _ = http.ReadRequest(r)
						go func() { _, _ = io.Copy(io.Discard, r) }()
						serve(theirs)
					}()
					return ours, nil
				}
				began := time.Now()
				_, err := server.Query(t.Context(), "up")
				if err == nil || err.Error() != "POST http://prometheus/api/v1/query: no complete answer within 15s" {
					t.Error(err)
				}
				if took := time.Since(began); took != timeout {
					t.Errorf("took %s", took)
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// Over TLS only whom the file of certificates vouches for is believed, the client shows its
// own certificate, and token and certificates are read anew for each query.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var tokens []string
	var clients []int
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		tokens = append(tokens, r.Header.Get("Authorization"))
		clients = append(clients, len(r.TLS.PeerCertificates))
		fmt.Fprint(w, good)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block := func(kind string, data []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
	}
	server := serverAt(t, s.URL)
	fails := func(want string) {
		t.Helper()
		if _, err := server.Query(t.Context(), "up"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	works := func() {
		t.Helper()
		if _, err := server.Query(t.Context(), "up"); err != nil {
			t.Error(err)
		}
	}
	fails("certificate signed by unknown authority")
	server.CA = filepath.Join(dir, "ca")
	fails("read the certificates to trust: open ")
	file("ca", "nothing")
	fails("has no certificate in it")
	file("ca", block("CERTIFICATE", s.Certificate().Raw))
	works()

	server.Cert, server.Key = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	fails("read the client certificate: open ")
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file("cert", block("CERTIFICATE", s.Certificate().Raw))
	file("key", block("PRIVATE KEY", key))
	works()

	server.TokenFile = filepath.Join(dir, "token")
	fails("read the bearer token: open ")
	file("token", "one\n")
	works()
	file("token", "two")
	works()
	file("token", " \n")
	fails("is empty")
	file("token", "a\nb")
	fails("is not one line")

	if want := []string{"", "", "Bearer one", "Bearer two"}; !slices.Equal(tokens, want) {
		t.Errorf("tokens %q, want %q", tokens, want)
	}
	if want := []int{0, 1, 1, 1}; !slices.Equal(clients, want) {
		t.Errorf("certificates of clients %v, want %v", clients, want)
	}
}

// An address has nothing in it that must not be shown.
func TestParseURL(t *testing.T) {
	for _, text := range []string{"http://a", "https://a.b:9090/x/y/", "http://[fd00::1]:9090"} {
		if _, err := ParseURL(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"":                                  "is not a URL",
		"prometheus:9090":                   "is not a URL",
		"prometheus":                        "is not a URL",
		"http://":                           "is not a URL",
		"http://:9090":                      "is not a URL",
		"ftp://a":                           "is not a URL",
		"unix:///run/x":                     "is not a URL",
		"http://user:topsecret@a:x":         "is not a URL",
		"http://user:topsecret@a":           "user name or a password",
		"http://topsecret@a":                "user name or a password",
		"http://a?token=topsecret":          "a query",
		"http://a?":                         "a query",
		"http://a#topsecret":                "a fragment",
		"http://a:9090/api/v1":              "without /api/v1/query",
		"http://a:9090/api/v1/query":        "without /api/v1/query",
		"http://a:9090/prometheus/api/v1/":  "without /api/v1/query",
		"http://a:9090/api/v1/query_range/": "",
	} {
		if _, err := ParseURL(text); want != "" && (err == nil || !strings.Contains(err.Error(), want)) || err != nil && strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// A header that a request cannot have is refused, and not shown.
func TestParseHeader(t *testing.T) {
	if name, value, err := ParseHeader("x-scope-orgid:  a: b "); name != "X-Scope-Orgid" || value != "a: b" || err != nil {
		t.Errorf("%q %q %v", name, value, err)
	}
	for _, text := range []string{"", "topsecret", ": topsecret", "a b: topsecret", "ä: topsecret", "a: ", "a: top\nsecret", "a: topsecret\x00", "Host: topsecret", "content-length: 5", "Content-Type: x", "a(b): topsecret"} {
		if _, _, err := ParseHeader(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
