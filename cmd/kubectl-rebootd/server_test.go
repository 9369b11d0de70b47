package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// server is an API server with Nodes and Leases in memory, for the real program: lists in
// pages and in protobuf, watches in JSON.
type server struct {
	http *httptest.Server

	mu      sync.Mutex
	version int
	nodes   []corev1.Node
	leases  []coordinationv1.Lease
	lists   int // requests
	watches map[chan []byte]string
}

var protobufs = func() *protobuf.Serializer {
	scheme := runtime.NewScheme()
	_ = corev1.AddToScheme(scheme)
	_ = coordinationv1.AddToScheme(scheme)
	return protobuf.NewSerializer(scheme, scheme)
}()

func newServer(t *testing.T) *server {
	s := &server{watches: map[chan []byte]string{}, version: 1}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	kind := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if r.URL.Query().Get("watch") != "" {
		s.watch(w, r, kind)
		return
	}
	s.mu.Lock()
	s.lists++
	meta := metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}
	var list runtime.Object
	var gvk schema.GroupVersionKind
	switch kind {
	case "nodes":
		from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
		to := len(s.nodes)
		if limit, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && from+limit < to {
			to = from + limit
			meta.Continue = strconv.Itoa(to)
		}
		list, gvk = &corev1.NodeList{ListMeta: meta, Items: s.nodes[from:to]}, corev1.SchemeGroupVersion.WithKind("NodeList")
	case "leases":
		list, gvk = &coordinationv1.LeaseList{ListMeta: meta, Items: s.leases}, coordinationv1.SchemeGroupVersion.WithKind("LeaseList")
	default:
		s.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	list.GetObjectKind().SetGroupVersionKind(gvk)
	var body bytes.Buffer
	err := protobufs.Encode(list, &body)
	s.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
	_, _ = w.Write(body.Bytes())
}

func (s *server) watch(w http.ResponseWriter, r *http.Request, kind string) {
	c := make(chan []byte, 1000)
	s.mu.Lock()
	s.watches[c] = kind
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches, c)
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-c:
			_, _ = w.Write(event)
			w.(http.Flusher).Flush()
		}
	}
}

// set has a Node be as it is given, and tells the watchers.
func (s *server) set(n *corev1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	n = n.DeepCopy()
	n.ResourceVersion = strconv.Itoa(s.version)
	kind := "ADDED"
	for i := range s.nodes {
		if s.nodes[i].Name == n.Name {
			s.nodes[i], kind = *n, "MODIFIED"
		}
	}
	if kind == "ADDED" {
		s.nodes = append(s.nodes, *n)
	}
	n.APIVersion, n.Kind = "v1", "Node"
	s.tell("nodes", kind, n)
}

func (s *server) setLease(l *coordinationv1.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	l = l.DeepCopy()
	l.ResourceVersion = strconv.Itoa(s.version)
	s.leases = []coordinationv1.Lease{*l}
	l.APIVersion, l.Kind = "coordination.k8s.io/v1", "Lease"
	s.tell("leases", "MODIFIED", l)
}

// tell sends an event to the watchers; the lock is held.
func (s *server) tell(kind, event string, object any) {
	data, err := json.Marshal(map[string]any{"type": event, "object": object})
	if err != nil {
		panic(err)
	}
	for c, of := range s.watches {
		if of == kind {
			c <- append(data, '\n')
		}
	}
}

// watched says whether Nodes and Leases are watched.
func (s *server) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	kinds := map[string]bool{}
	for _, kind := range s.watches {
		kinds[kind] = true
	}
	return kinds["nodes"] && kinds["leases"]
}

// program builds the program and returns its path.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kubectl-rebootd-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kubectl-rebootd")
	build := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if path, err := program(); err == nil && !testing.Short() {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(status)
}

// kubeconfig writes one for the server and returns its path.
func (s *server) kubeconfig(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x, clusters: [{name: x, cluster: {server: %q}}], contexts: [{name: x, context: {cluster: x}}]}`, s.http.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
