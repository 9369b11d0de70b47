package real

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/test/cluster"
)

// readmeBlocks are the blocks of commands below a heading of the README, as they are.
func readmeBlocks(heading string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(root(), "README.md"))
	if err != nil {
		return nil, err
	}
	_, section, ok := strings.Cut(string(data), "\n### "+heading+"\n")
	if !ok {
		return nil, fmt.Errorf("the README has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	var blocks []string
	for _, block := range regexp.MustCompile(`(?m)(^    .*\n)+`).FindAllString(section, -1) {
		blocks = append(blocks, regexp.MustCompile(`(?m)^    `).ReplaceAllString(block, ""))
	}
	return blocks, nil
}

// root is the project's directory.
func root() string { return filepath.Dir(cluster.SourceDir()) }

// admin runs a script where a person has kubectl and the sources. Programs that this
// machine does not have are stood in for by scripts of that name.
func admin(ctx context.Context, script string, stand map[string]string, env ...string) (string, error) {
	bin, err := os.MkdirTemp("", "rebootd-admin-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(bin)
	for name, script := range stand {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh -e\n"+script), 0o755); err != nil {
			return "", err
		}
	}
	kubectl, err := shared.Kubectl()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "bash", "-xeo", "pipefail", "-c", script)
	cmd.Dir = root()
	// A person does not type within a make, which tells the ones below it by the environment.
	inherited := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
	cmd.Env = append(inherited, append(env, "KUBECONFIG="+shared.Kubeconfig, "PATH="+bin+":"+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("as the README says:\n%s%w\n%s", script, err, out)
	}
	return string(out), nil
}

// daemonSet is what the README's steps for the DaemonSet have made.
type daemonSet struct {
	image   string // its name
	program string // what is in it
}

// docker stands in for docker, which there is none of here: it takes what the README has
// people ask for, copies what .dockerignore lets into the context, and compiles there by
// the Dockerfile's own command. The image is made of that by each machine (host.Archive).
const docker = `case $1 in
build)
	[ "$2" = --build-arg ] && [ "$4" = -t ] && [ "$6" = . ]
	export "$3" CGO_ENABLED=0 GOOS=linux GOARCH=$(go env GOARCH)
	[ "$(head -n 1 .dockerignore)" = '*' ]
	mkdir "$DOCKER_DIR/src"
	sed -n 's/^!//p' .dockerignore | while read -r f; do cp -r "$f" "$DOCKER_DIR/src/"; done
	sed -n 's|^ *\(go build .*\) -o /rebootd |\1 -o "$DOCKER_DIR/rebootd" |p' Dockerfile >"$DOCKER_DIR/compile"
	cd "$DOCKER_DIR/src" && . "$DOCKER_DIR/compile" && echo "$5" >"$DOCKER_DIR/built";;
push) [ "$2" = "$(cat "$DOCKER_DIR/built")" ] && echo "$2" >"$DOCKER_DIR/pushed";;
*) exit 1;;
esac
`

// readmeDaemonSet installs the DaemonSet as the README says.
func readmeDaemonSet() (daemonSet, error) {
	blocks, err := readmeBlocks("As a DaemonSet")
	if err != nil {
		return daemonSet{}, err
	}
	if len(blocks) != 1 {
		return daemonSet{}, fmt.Errorf("the README has %d blocks for the DaemonSet", len(blocks))
	}
	dir := filepath.Join(shared.Dir, "docker")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return daemonSet{}, err
	}
	if _, err := admin(context.Background(), blocks[0], map[string]string{"docker": docker}, "DOCKER_DIR="+dir); err != nil {
		return daemonSet{}, err
	}
	pushed, err := os.ReadFile(filepath.Join(dir, "pushed"))
	if err != nil {
		return daemonSet{}, fmt.Errorf("the README's steps push no image: %w", err)
	}
	return daemonSet{image: strings.TrimSpace(string(pushed)), program: filepath.Join(dir, "rebootd")}, nil
}

// readmeTryIt does on a machine, and then where a person has kubectl, what the README
// says under "Try it".
func (b *bed) readmeTryIt(m *machine) {
	b.Helper()
	blocks, err := readmeBlocks("Try it")
	b.must(err)
	if len(blocks) != 2 {
		b.Fatalf("the README has %d blocks", len(blocks))
	}
	b.shell(m, blocks[0])
	b.phase(m, "Draining")
	out, err := admin(b.ctx, blocks[1], nil, "NODE="+m.Name)
	b.must(err)
	for _, want := range []string{m.Name, "RebootRequested", "/run/reboot-needed", "HOLDER"} {
		if !strings.Contains(out, want) {
			b.Errorf("what the README says to watch does not show %s:\n%s", want, out)
		}
	}
}

// making is held while the README's steps make packages, in one directory.
var making sync.Mutex

// The unit, installed as the README says and in no other way: with the permissions of
// the shipped manifests and under their policies.
func TestUnitByTheREADME(t *testing.T) {
	t.Parallel()
	onEvery(t, 4*time.Minute, func(b *bed) {
		blocks, err := readmeBlocks("As a systemd unit")
		b.must(err)
		if len(blocks) != 2 {
			t.Fatalf("the README has %d blocks for the unit", len(blocks))
		}
		m := b.bareMachine("")
		making.Lock()
		_, err = admin(b.ctx, blocks[0], map[string]string{"scp": `for last; do :; done
[ "$last" = "root@$NODE:" ] && mkdir -p "$ROOT/root"
for f; do [ "$f" = "$last" ] || cp "$f" "$ROOT/root/"; done
`}, "NODE="+m.Name, "ROOT="+m.Root)
		making.Unlock()
		b.must(err)
		b.shell(m, "cd /root\n"+blocks[1])
		b.pod(m)
		b.readmeTryIt(m)
		b.rebooted(m, 1)
		log := b.exec(m, "journalctl", "-u", "rebootd", "-o", "cat")
		for l := range strings.Lines(log) {
			if strings.Contains(l, "forbidden") && !strings.Contains(l, "medik8s") || strings.Contains(l, "no admission policy") {
				t.Errorf("something was forbidden, or nothing keeps it to its node:\n%s", l)
			}
		}
		if n := b.node(m, "there", func(*corev1.Node) bool { return true }); !strings.Contains(n.Annotations["rebootd.dev/report"], `"drained":1`) {
			t.Errorf("the report: %s", n.Annotations["rebootd.dev/report"])
		}
	})
}
