package deploy

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every kubectl -k of the documents names one directory, which kubectl takes no more
// than one of, and one that is there.
func TestDocumentedKustomizations(t *testing.T) {
	command := regexp.MustCompile("kubectl (?:apply|delete|kustomize)\\b[^\n`#;|]*")
	flag := regexp.MustCompile(` -k[ =]*(\S+)`)
	found := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			if d != nil && d.IsDir() {
				return filepath.SkipDir
			}
			return err
		}
		if ext := filepath.Ext(path); ext != ".md" && ext != ".yaml" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, c := range command.FindAllString(string(data), -1) {
			dirs := flag.FindAllStringSubmatch(c, -1)
			if len(dirs) > 1 {
				t.Errorf("%s: %s: kubectl takes the last directory only", path, c)
			}
			for _, m := range dirs {
				dir := strings.Trim(m[1], "'\".,")
				found[dir] = true
				if dir == "deploy/base" || dir == "deploy/before-1.36" {
					t.Errorf("%s: %s: installs an image that is nowhere; make manifests names one", path, c)
				}
				if strings.HasPrefix(dir, "deploy/") && !exists(filepath.Join("..", dir, "kustomization.yaml")) {
					t.Errorf("%s: %s: there is no %s", path, c, dir)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"deploy/monitoring", "deploy/kube-prometheus-stack"} {
		if !found[dir] {
			t.Errorf("no document says how to apply %s", dir)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A pause that stands on a slot ends when that is deleted, as it is with its holder's Node:
// the documents have people pause the lock where nothing ends it but they.
func TestDocumentedPauses(t *testing.T) {
	pauses := regexp.MustCompile(`kubectl[^\n` + "`" + `]* annotate [^\n` + "`" + `]*\brebootd\.dev/paused=`)
	found := 0
	for path, text := range pages(t) {
		for _, c := range pauses.FindAllString(text, -1) {
			if found++; !strings.Contains(c, " rebootd-pause ") {
				t.Errorf("%s: %s", path, c)
			}
		}
	}
	if found < 3 {
		t.Errorf("found %d commands that pause the lock", found)
	}
}

// Where people cannot make a new kubeconfig for the unit, or the way to the node breaks,
// the documented command leaves the one that is there.
func TestDocumentedRenewal(t *testing.T) {
	const good, whole = "the one that works\n", `case $* in *"create token"*) echo token 2027-01-01;; esac`
	found := 0
	for path, text := range pages(t) {
		for _, c := range regexp.MustCompile(`(?m)^    (deploy/kubeconfig .*ssh .*)$`).FindAllStringSubmatch(text, -1) {
			found++
			for name, stands := range map[string]struct{ kubectl, ssh, want string }{
				"renewed":    {whole, `eval "$2"`, "current-context: rebootd"},
				"no token":   {`echo "error: You must be logged in to the server" >&2; exit 1`, `eval "$2"`, good},
				"broken off": {whole, `head -n 5 | eval "$2"`, good},
			} {
				dir := t.TempDir()
				kubeconfig := filepath.Join(dir, "kubeconfig")
				for file, text := range map[string]string{"kubectl": stands.kubectl, "ssh": stands.ssh, "systemctl": "echo $* >>" + dir + "/restarted"} {
					write(t, filepath.Join(dir, file), "#!/bin/sh\n"+text+"\n")
				}
				write(t, kubeconfig, good)
				cmd := exec.Command("sh", "-c", strings.ReplaceAll(c[1], "/etc/rebootd/", dir+"/"))
				cmd.Dir = ".."
				cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "NODE=a")
				out, _ := cmd.CombinedOutput()
				is, err := os.ReadFile(kubeconfig)
				if err != nil || !strings.Contains(string(is), stands.want) {
					t.Errorf("%s: %s: %s: the kubeconfig is %q, %v\n%s", path, name, c[1], is, err, out)
				}
				if renewed := stands.want != good; exists(filepath.Join(dir, "restarted")) != renewed {
					t.Errorf("%s: %s: the unit was restarted: %t", path, name, !renewed)
				}
			}
		}
	}
	if found != 2 {
		t.Errorf("found %d commands that renew a kubeconfig", found)
	}
}

// pages are the README and the pages of docs/.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"../README.md", "../docs/*.md", "../docs/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			out[f] = string(data)
		}
	}
	return out
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// The program for people is built by whoever sits at the machine, and installed by root,
// whose PATH has no Go; and a machine at which people sit need not be one on which the
// daemon builds.
func TestPluginIsInstalledWithoutGo(t *testing.T) {
	tools, prefix := t.TempDir(), t.TempDir()
	for _, name := range []string{"install", "ln"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		if err := os.Symlink(path, filepath.Join(tools, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		path string
		args []string
	}{{os.Getenv("PATH"), []string{"cli"}}, {tools, []string{"plugin", "PREFIX=" + prefix}}} {
		cmd := exec.Command("make", append([]string{"-C", ".."}, step.args...)...)
		cmd.Env = append(os.Environ(), "PATH="+step.path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make %s: %v\n%s", strings.Join(step.args, " "), err, out)
		}
	}
	for _, name := range []string{"rebootctl", "kubectl-rebootd"} {
		if out, err := exec.Command(filepath.Join(prefix, "bin", name), "version").CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("%s version: %v\n%s", name, err, out)
		}
	}
	if !exists(filepath.Join(prefix, "bin", "kubectl_complete-rebootd")) {
		t.Error("the completion is not installed")
	}
}
