package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

// TestCompleteByKubectl has kubectl itself complete a line of its plugin, by the program that is shipped for that.
func TestCompleteByKubectl(t *testing.T) {
	b := newBed(t, 2*time.Minute)
	m := b.machine()
	b.reason(m, "NotRequired")
	kubectl, err := shared.Kubectl()
	b.Must(err)
	plugin, err := cluster.Plugin()
	b.Must(err)
	bin := b.TempDir()
	shipped, err := os.ReadFile(filepath.Join(filepath.Dir(cluster.SourceDir()), "systemd", "kubectl_complete-rebootd"))
	b.Must(err)
	b.Must(os.WriteFile(filepath.Join(bin, "kubectl_complete-rebootd"), shipped, 0o700))
	b.Must(os.Symlink(plugin, filepath.Join(bin, "kubectl-rebootd")))
	b.Must(os.Symlink(kubectl, filepath.Join(bin, "kubectl")))
	for line, want := range map[string]string{
		"rebootd hol":                     "hold\tHave nodes left alone until unhold\n:4\n",
		"rebootd hold " + m.Name:          m.Name + "\tidle\n:4\n",
		"rebootd why " + m.Name + " -o y": "json\nyaml\n:4\n",
	} {
		cmd := exec.CommandContext(b.Ctx, filepath.Join(bin, "kubectl"), append([]string{"__complete"}, strings.Fields(line)...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+shared.Kubeconfig, "PATH="+bin+":"+os.Getenv("PATH"))
		said, err := kit.Run(b.Ctx, cmd)
		b.Must(err)
		if said.Out != want {
			t.Errorf("%s: %+v; want %q", line, said, want)
		}
	}
}
