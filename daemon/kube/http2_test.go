package kube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/net/http2"
	"k8s.io/client-go/rest"
)

// The API server is spoken to by HTTP/2, all over one connection, also in the program as it
// is built: without the HTTP/2 of net/http, since client-go brings its own. `make lint` runs
// this test so.
func TestHTTP2(t *testing.T) {
	protocols := make(chan string, 8)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols <- r.Proto
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"kind":"Node","apiVersion":"v1","metadata":{"name":"a"}}`)
	}))
	//lint:ignore SA1019 the server of net/http has no HTTP/2 in this build
	if err := http2.ConfigureServer(srv.Config, nil); err != nil {
		t.Fatal(err)
	}
	srv.TLS = srv.Config.TLSConfig
	srv.StartTLS()
	defer srv.Close()
	c, err := New(&rest.Config{Host: srv.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.GetNode(t.Context(), "a")
	if err != nil || n.Name != "a" {
		t.Fatalf("%+v, %v", n, err)
	}
	if p := <-protocols; p != "HTTP/2.0" {
		t.Errorf("the API server is spoken to by %s", p)
	}
}
