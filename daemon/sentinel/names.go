package sentinel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// watched is a sentinel's path, and the one that is looked at for it.
type watched struct{ path, at string }

// distinct are the sentinels, each once: two paths may lead to one file, as /run and
// /var/run do on most hosts.
func (w *Watcher) distinct(s *State) (out []watched) {
	seen := map[string]string{}
	for _, p := range w.paths {
		at := p
		if q, ok := w.inRun(p); ok {
			at = q
			s.Notes = append(s.Notes, fmt.Sprintf("watching %s for %s: on the host /var/run is /run, and /var is not mounted below %s", q, p, w.root))
		}
		leads := w.leads(at)
		if other, is := seen[leads]; is {
			s.Notes = append(s.Notes, fmt.Sprintf("%s and %s are the same file", other, p))
			continue
		}
		seen[leads] = p
		out = append(out, watched{p, at})
	}
	return out
}

// inRun is the path in /run that is meant by one in /var/run where the host's root is seen
// in parts: with its /run, and without its /var, where hosts have a link to it
// (https://refspecs.linuxfoundation.org/FHS_3.0/fhs/ch05s13.html).
func (w *Watcher) inRun(path string) (string, bool) {
	rest, is := strings.CutPrefix(path, "/var/run/")
	if !is {
		return "", false
	}
	_, err := os.Lstat(filepath.Join(w.root, "var"))
	run, errRun := os.Lstat(filepath.Join(w.root, "run"))
	return "/run/" + rest, errors.Is(err, fs.ErrNotExist) && errRun == nil && run.IsDir()
}

// leads is where the directory of a path is, and the name in it.
func (w *Watcher) leads(path string) string {
	dir := resolve(w.root, filepath.Dir(path))
	if dir.err != nil {
		return path
	}
	return filepath.Join(dir.path, filepath.Base(path))
}
