package cluster

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	rbacv1 "k8s.io/api/rbac/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// shippedRoles are the roles of a file of the manifests.
func shippedRoles(file string) (clusterRoles []*rbacv1.ClusterRole, roles []*rbacv1.Role, err error) {
	path := filepath.Join(filepath.Dir(SourceDir()), "deploy", file)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the shipped roles: %w", err)
	}
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return clusterRoles, roles, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the shipped roles from %s: %w", path, err)
		}
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			return nil, nil, fmt.Errorf("read the shipped roles from %s: %w", path, err)
		}
		switch kind.Kind {
		case "ClusterRole":
			clusterRoles = append(clusterRoles, new(rbacv1.ClusterRole))
			err = yaml.UnmarshalStrict(doc, clusterRoles[len(clusterRoles)-1])
		case "Role":
			roles = append(roles, new(rbacv1.Role))
			err = yaml.UnmarshalStrict(doc, roles[len(roles)-1])
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the shipped roles from %s: %w", path, err)
		}
	}
}
