package sentinel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
)

const (
	// pkgsSuffix marks the list of packages beside Debian's sentinel
	// (/run/reboot-required.pkgs).
	pkgsSuffix = ".pkgs"
	maxContent = 256
	maxPkgs    = 64 << 10
	maxLinks   = 40 // as in path_resolution(7)
)

// lookup is a name that was looked for in a directory.
type lookup struct{ dir, name string }

// resolved is where a path leads, and every name that was looked up on the way:
// if none of them changes, neither does where it leads.
type resolved struct {
	path    string // in our own view, no link in it
	info    fs.FileInfo
	err     error // why there is nothing
	lookups []lookup
}

// resolve follows path below root as the kernel would if root were /.
func resolve(root, path string) resolved {
	var r resolved
	dir := root // always a directory below root, with no link in it below root
	rest := strings.Split(filepath.Clean(path), "/")
	links := 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if dir != root {
				dir = filepath.Dir(dir)
			}
			continue
		}
		r.lookups = append(r.lookups, lookup{dir, name})
		full := filepath.Join(dir, name)
		info, err := os.Lstat(full)
		if err != nil {
			r.err = err
			return r
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			if links++; links > maxLinks {
				r.err = fmt.Errorf("%s: %w", full, syscall.ELOOP)
				return r
			}
			target, err := os.Readlink(full)
			if err != nil {
				r.err = err
				return r
			}
			if filepath.IsAbs(target) {
				dir = root
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		if !info.IsDir() || !remains(rest) {
			if remains(rest) {
				r.err = fmt.Errorf("%s: %w", full, syscall.ENOTDIR)
				return r
			}
			r.path, r.info = full, info
			return r
		}
		dir = full
	}
	r.path = dir
	r.info, r.err = os.Lstat(dir)
	return r
}

func remains(rest []string) bool {
	return slices.ContainsFunc(rest, func(s string) bool { return s != "" && s != "." })
}

// read reads a sentinel. One that is there and cannot be read is present all the
// same: somebody asks for a reboot. A directory is none.
func read(path string, at, pkgs resolved) (f *File, problem string) {
	switch {
	case errors.Is(at.err, fs.ErrNotExist) || errors.Is(at.err, syscall.ENOTDIR):
		return nil, ""
	case at.err != nil:
		return nil, fmt.Sprintf("cannot look at %s: %v", path, at.err)
	case at.info.IsDir():
		return nil, fmt.Sprintf("%s is a directory, which does not request a reboot", path)
	}
	f = &File{Path: path, ModTime: at.info.ModTime()}
	if at.info.Mode().IsRegular() {
		data, err := head(at.path, maxContent)
		if err != nil {
			problem = fmt.Sprintf("cannot read %s: %v", path, err)
		}
		f.Content = clean(data, maxContent)
	}
	if pkgs.err == nil && pkgs.info.Mode().IsRegular() {
		if data, err := head(pkgs.path, maxPkgs); err == nil {
			f.Packages = packages(data)
		} else {
			problem = fmt.Sprintf("cannot read %s%s: %v", path, pkgsSuffix, err)
		}
	}
	return f, problem
}

// head reads the first n bytes of a regular file.
func head(path string, n int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // gone since: the next look will say so
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// clean makes one line of printable text of at most n bytes.
func clean(data []byte, n int) string {
	s := strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return ' '
		}
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, string(bytes.ToValidUTF8(data, nil)))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}

const maxPackageName = 128

// packages reads a list of packages, one a line, which may repeat.
func packages(data []byte) []string {
	var out []string
	for line := range bytes.Lines(data) {
		if p := clean(line, maxPackageName); p != "" {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
