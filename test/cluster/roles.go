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

// shippedRoles are the roles of the manifests.
func shippedRoles() (*rbacv1.ClusterRole, *rbacv1.Role, error) {
	path := filepath.Join(filepath.Dir(SourceDir()), "deploy", "base", "rbac.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the shipped roles: %w", err)
	}
	var clusterRole *rbacv1.ClusterRole
	var role *rbacv1.Role
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			break
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
			clusterRole = new(rbacv1.ClusterRole)
			err = yaml.UnmarshalStrict(doc, clusterRole)
		case "Role":
			role = new(rbacv1.Role)
			err = yaml.UnmarshalStrict(doc, role)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the shipped roles from %s: %w", path, err)
		}
	}
	if clusterRole == nil || role == nil {
		return nil, nil, fmt.Errorf("read the shipped roles from %s: one is missing", path)
	}
	return clusterRole, role, nil
}
