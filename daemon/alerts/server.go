package alerts

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"rebootd.dev/daemon/printable"
)

const (
	// timeout bounds a query, with all that comes back.
	timeout = 15 * time.Second
	// serverTimeout is what Prometheus itself may take for it.
	serverTimeout = "10s"
	// maxAnswer bounds an answer, in bytes: ten thousand names of alerts.
	maxAnswer = 1 << 20
	// maxWords bounds what is told of somebody else's words, in bytes.
	maxWords = 200
)

// Server is a Prometheus, or what answers as one. Its files are read anew for each query,
// since tokens and certificates are renewed. It is safe for concurrent use.
type Server struct {
	URL       *url.URL // by [ParseURL]
	CA        string   // file of certificates to trust; "": the system's, or those that are built in
	Cert, Key string   // files of the client's certificate; "": none
	TokenFile string   // of a bearer token; "": none
	Header    http.Header

	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: as usual
}

// ParseURL reads where a Prometheus is. Its errors do not have what may be a password.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("is not a URL such as http://prometheus.monitoring:9090")
	case u.User != nil:
		return nil, errors.New("must not have a user name or a password in it, which would be shown: use --prometheus-token-file or --prometheus-header")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("must not have a query or a fragment: /api/v1/query is added to its path")
	case strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/api/v1") || strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/query"):
		return nil, errors.New("must be the address without /api/v1/query, which is added to it")
	}
	return u, nil
}

var (
	headerName  = regexp.MustCompile("^[a-zA-Z0-9!#$%&'*+.^_`|~-]+$")
	headerValue = regexp.MustCompile(`^[\t\x20-\x7e\x80-\xff]+$`)
)

// ParseHeader reads a header as it is written in a request. Its errors do not have the
// value, which may be a password.
func ParseHeader(text string) (name, value string, err error) {
	name, value, found := strings.Cut(text, ":")
	name, value = http.CanonicalHeaderKey(name), strings.TrimSpace(value)
	switch {
	case !found || !headerName.MatchString(name) || !headerValue.MatchString(value):
		return "", "", errors.New("is not a header such as X-Scope-OrgID: tenant")
	case name == "Host" || strings.HasPrefix(name, "Content-"):
		return "", "", fmt.Errorf("the header %s cannot be set", name)
	}
	return name, value, nil
}

// Query has a query evaluated now. The answer is an instant vector, and complete. The
// error says, in a sentence that stays the same while nothing changes, what was tried and
// what happened.
func (s *Server) Query(ctx context.Context, query string) ([]Sample, error) {
	target := s.URL.JoinPath("api/v1/query").String()
	out, err := s.query(ctx, target, query)
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", printable.Line(target, maxWords), err)
	}
	return out, nil
}

func (s *Server) query(ctx context.Context, target, query string) ([]Sample, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	form := url.Values{"query": {query}, "timeout": {serverTimeout}}
	req, err := http.NewRequestWithContext(limited, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	for name, values := range s.Header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "rebootd")
	if s.TokenFile != "" {
		token, err := os.ReadFile(s.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the bearer token: %w", err)
		}
		token = bytes.TrimSpace(token)
		switch {
		case len(token) == 0:
			return nil, fmt.Errorf("the bearer token in %s is empty", s.TokenFile)
		case !headerValue.Match(token):
			return nil, fmt.Errorf("the bearer token in %s is not one line of text", s.TokenFile)
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	trust, err := s.tls()
	if err != nil {
		return nil, err
	}
	client := http.Client{
		// For one request: queries are rare, and the files may be others the next time.
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: s.dial, TLSClientConfig: trust, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, cause(limited, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("it redirects (%d), and redirects are not followed: set --prometheus-url to where it is", resp.StatusCode)
	case err != nil:
		return nil, cause(limited, err)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answers %d %s%s", resp.StatusCode, http.StatusText(resp.StatusCode), says(data))
	}
	return parse(data)
}

// cause is why a request failed, without what is another one each time.
func cause(limited context.Context, err error) error {
	if errors.Is(limited.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no complete answer within %s", timeout)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Source != nil { // with a port of ours
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	// Which of the two is said depends on who was quicker.
	return errors.New(printable.Line(strings.TrimPrefix(err.Error(), "net/http: HTTP/1.x transport connection broken: "), maxWords))
}

// says is what an answer that is an error has to say.
func says(data []byte) string {
	var a response
	if json.Unmarshal(data, &a) != nil || a.Error == "" {
		return ""
	}
	return ": " + printable.Line(a.Error, maxWords)
}

// response is what /api/v1/query answers.
type response struct {
	Status   string   `json:"status"`
	Error    string   `json:"error"`
	Warnings []string `json:"warnings"`
	// IsPartial is how VictoriaMetrics says that a store did not answer. Thanos warns.
	IsPartial bool `json:"isPartial"`
	Data      struct {
		ResultType string `json:"resultType"`
		Result     []struct {
			Metric map[string]string `json:"metric"`
			Value  []json.RawMessage `json:"value"`
		} `json:"result"`
	} `json:"data"`
}

func parse(data []byte) ([]Sample, error) {
	var a response
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, errors.New("the answer is not what Prometheus answers: " + printable.Line(err.Error(), maxWords))
	}
	switch {
	case a.Status != "success":
		return nil, fmt.Errorf("the status of the answer is %q%s", printable.Line(a.Status, maxWords), says(data))
	case a.IsPartial:
		return nil, errors.New("the answer is partial: a store did not answer")
	case len(a.Warnings) > 0:
		return nil, fmt.Errorf("the answer may not be complete; it warns: %s", printable.Line(a.Warnings[0], maxWords))
	case a.Data.ResultType != "vector":
		return nil, fmt.Errorf("the answer is of the type %q, and a vector was asked for", printable.Line(a.Data.ResultType, maxWords))
	case a.Data.Result == nil:
		return nil, errors.New("the answer has no result")
	}
	var out []Sample
	for _, r := range a.Data.Result {
		s := Sample{Labels: r.Metric}
		var at float64
		var value string
		var err error
		if len(r.Value) != 2 || json.Unmarshal(r.Value[0], &at) != nil || json.Unmarshal(r.Value[1], &value) != nil {
			return nil, errors.New("the answer has a series without a value")
		}
		s.Value, err = strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(s.Value) || math.Abs(s.Value) > maxSeconds || at < 0 || at > maxSeconds {
			return nil, errors.New("the answer has a value that is not a time")
		}
		s.At = time.UnixMilli(int64(at * 1000)).UTC()
		out = append(out, s)
	}
	return out, nil
}

// maxSeconds is a time far from now, in seconds.
const maxSeconds = 1 << 40

// tls is whom to trust, and as whom to come.
func (s *Server) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CA == "" && s.URL != nil && s.URL.Scheme == "https" {
		c.RootCAs = trusted()
	}
	if s.CA != "" {
		data, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, fmt.Errorf("read the certificates to trust: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s has no certificate in it", s.CA)
		}
	}
	if s.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
