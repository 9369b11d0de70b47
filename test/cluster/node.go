package cluster

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"k8s.io/client-go/tools/clientcmd"
)

// ServiceAddress is where pods find the API server. There is nobody who brings them
// there: see Forward.
const ServiceAddress = "10.96.0.1"

// NodeKubeconfig is a kubeconfig for the kubelet of a node, at ServiceAddress.
func (c *Cluster) NodeKubeconfig(node string) ([]byte, error) {
	if c.foreign {
		return nil, ErrForeign
	}
	path := filepath.Join(c.Dir, node+".kubeconfig")
	if err := c.pki.kubeconfig(path, "https://"+ServiceAddress, "system:node:"+node, "system:nodes"); err != nil {
		return nil, err
	}
	cfg, err := clientcmd.LoadFromFile(path)
	if err == nil {
		err = clientcmdapi.FlattenConfig(cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("make the kubeconfig of the node %s: %w", node, err)
	}
	return clientcmd.Write(*cfg)
}

// Forward listens on a socket and brings who connects to the API server, until it is
// closed: a network namespace ends at no file.
func (c *Cluster) Forward(socket string) (io.Closer, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("forward to the API server: %w", err)
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go join(in, strings.TrimPrefix(c.server, "https://"))
		}
	}()
	return l, nil
}

// join brings a connection together with one to address, until one of them ends.
func join(in net.Conn, address string) {
	defer in.Close()
	out, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	var once sync.Once
	end := func() { once.Do(func() { in.Close(); out.Close() }) }
	defer end()
	go func() {
		_, _ = io.Copy(out, in)
		end()
	}()
	_, _ = io.Copy(in, out)
}
