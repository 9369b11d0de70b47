// Package proxy stands between a client and the API server and does to their
// conversation what networks, load balancers and API servers in trouble do.
package proxy

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Fault is what happens to one request. The zero Fault lets it pass.
type Fault struct {
	Delay  time.Duration   // before anything else
	Until  <-chan struct{} // held back until this is closed; nil: not
	Lose   bool            // the server never sees it, the client no answer
	Forget bool            // the server does it, the client sees no answer
	Answer *metav1.Status  // instead of the server's; with its code
	Clock  time.Duration   // by how much the server's is ahead of what it is

	// Of a watch: it is cut after so many events, counted from one; 0: never.
	CutAfter int
	// InEvent has the cut in the middle of the next event, not between two.
	InEvent bool
	// Silent holds the connection open instead, and lets nothing through.
	Silent bool
	// EventDelay holds back each event.
	EventDelay time.Duration
}

// Proxy speaks plain HTTP to the client and the server's protocol to the server.
type Proxy struct {
	URL string

	server *httptest.Server
	target *url.URL
	client http.RoundTripper

	mu    sync.Mutex
	fault func(r *http.Request) Fault
}

// New starts a proxy to the API server of cfg, as the user of cfg.
func New(cfg *rest.Config) (*Proxy, error) {
	target, err := url.Parse(cfg.Host)
	if err != nil {
		return nil, fmt.Errorf("start a proxy to %s: %w", cfg.Host, err)
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("start a proxy to %s: %w", cfg.Host, err)
	}
	p := &Proxy{target: target, client: transport}
	p.server = httptest.NewServer(p)
	p.URL = p.server.URL
	return p, nil
}

// Between starts a proxy to the API server that a kubeconfig names, as its user, and
// has the kubeconfig name the proxy instead.
func Between(kubeconfig string) (*Proxy, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	p, err := New(cfg)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
contexts: [{name: c, context: {cluster: c}}]
current-context: c
`, p.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		p.Close()
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	return p, nil
}

// Close ends the proxy and every connection through it.
func (p *Proxy) Close() {
	// No new ones first: a client that comes back at once would be waited for.
	_ = p.server.Listener.Close()
	p.server.CloseClientConnections()
	p.server.Close()
}

// Cut ends every connection through the proxy; new ones are let in.
func (p *Proxy) Cut() { p.server.CloseClientConnections() }

// Faults has f decide of each request what happens to it. f may be called from
// several goroutines.
func (p *Proxy) Faults(f func(r *http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// IsWatch says whether a request opens a watch of a resource.
func IsWatch(r *http.Request, resource string) bool {
	return strings.HasSuffix(r.URL.Path, "/"+resource) && r.URL.Query().Has("watch")
}

// Gone is the answer to a watch from a version that the server has forgotten.
func Gone() *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old resource version",
	}
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	decide := p.fault
	p.mu.Unlock()
	var f Fault
	if decide != nil {
		f = decide(r)
	}
	select {
	case <-time.After(f.Delay):
	case <-r.Context().Done():
		return
	}
	if f.Until != nil {
		select {
		case <-f.Until:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case f.Lose:
		panic(http.ErrAbortHandler)
	case f.Answer != nil:
		answer(w, f.Answer)
		return
	}
	res, err := p.forward(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer res.Body.Close()
	if f.Forget {
		_, _ = io.Copy(io.Discard, res.Body)
		panic(http.ErrAbortHandler)
	}
	for k, vs := range res.Header {
		w.Header()[k] = vs
	}
	if f.Clock != 0 {
		w.Header().Set("Date", time.Now().Add(f.Clock).UTC().Format(http.TimeFormat))
	}
	w.WriteHeader(res.StatusCode)
	if !r.URL.Query().Has("watch") {
		_, _ = io.Copy(w, res.Body)
		return
	}
	if err := passWatch(w, r, res.Body, f); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (p *Proxy) forward(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = p.target.Scheme, p.target.Host, "", ""
	out.Header.Del("Connection")
	out.Header.Set("Accept-Encoding", "identity")
	return p.client.RoundTrip(out)
}

func answer(w http.ResponseWriter, s *metav1.Status) {
	if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(s.Details.RetryAfterSeconds)))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(s.Code))
	_ = json.NewEncoder(w).Encode(s)
}

var errCut = errors.New("cut")

// maxEvent is more than any event of the tests has.
const maxEvent = 16 << 20

// passWatch passes on the events of a watch, in protobuf's framing: four bytes of
// length and the event.
func passWatch(w http.ResponseWriter, r *http.Request, body io.Reader, f Fault) error {
	flush := http.NewResponseController(w).Flush
	if err := flush(); err != nil {
		return err
	}
	for n := 1; ; n++ {
		var head [4]byte
		if _, err := io.ReadFull(body, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[:])
		if size > maxEvent {
			return fmt.Errorf("an event of %d bytes: is this watch in protobuf?", size)
		}
		event := make([]byte, 4+size)
		copy(event, head[:])
		if _, err := io.ReadFull(body, event[4:]); err != nil {
			return err
		}
		select {
		case <-time.After(f.EventDelay):
		case <-r.Context().Done():
			return nil
		}
		if f.CutAfter > 0 && n >= f.CutAfter {
			switch {
			case f.Silent:
				<-r.Context().Done()
				return nil
			case f.InEvent:
				_, _ = w.Write(event[:len(event)/2])
				_ = flush()
			}
			return errCut
		}
		if _, err := w.Write(event); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
}
