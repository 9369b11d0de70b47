package sentinel

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

const (
	// pkgsSuffix marks the list of packages beside Debian's sentinel
	// (/run/reboot-required.pkgs).
	pkgsSuffix = ".pkgs"
	maxContent = 256
	maxPkgs    = 64 << 10
	maxLinks   = 40 // as in path_resolution(7)
	sumBytes   = 8  // tell apart what one file has had in it, not what an attacker makes up
)

// madeAtBoot are the file systems that keep nothing over a boot, by their numbers: tmpfs
// and ramfs (statfs(2)).
var madeAtBoot = []int64{0x01021994, 0x858458f6}

// lookup is a name that was looked for in a directory.
type lookup struct{ dir, name string }

// resolved is where a path leads, and every name that was looked up on the way:
// if none of them changes, neither does where it leads.
type resolved struct {
	path    string // in our own view, no link in it
	info    fs.FileInfo
	err     error // why there is nothing
	lookups []lookup
	lacks   string // the directory that is not there, on the host; "" if only the last name is not
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
			if r.err = err; remains(rest) {
				r.lacks = "/" + strings.TrimPrefix(strings.TrimPrefix(full, root), "/")
			}
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
	case errors.Is(at.err, fs.ErrNotExist) && at.lacks != "":
		return nil, fmt.Sprintf("%s cannot be there: there is no directory %s; waiting for it", path, at.lacks)
	case errors.Is(at.err, fs.ErrNotExist) || errors.Is(at.err, syscall.ENOTDIR):
		return nil, ""
	case at.err != nil:
		return nil, fmt.Sprintf("cannot look at %s: %v", path, at.err)
	case at.info.IsDir():
		return nil, fmt.Sprintf("%s is a directory, which does not request a reboot", path)
	}
	f = &File{SentinelFile: identity(path, at), ModTime: at.info.ModTime()}
	sum := sha256.New()
	if at.info.Mode().IsRegular() {
		data, err := head(at.path, maxContent)
		if err != nil {
			problem = fmt.Sprintf("cannot read %s: %v", path, err)
		}
		f.Content = printable.Line(string(data), maxContent)
		sum.Write(data)
	}
	if pkgs.err == nil && pkgs.info.Mode().IsRegular() {
		if data, err := head(pkgs.path, maxPkgs); err == nil {
			f.Packages = packages(data)
			sum.Write([]byte{0})
			sum.Write(data)
		} else {
			problem = fmt.Sprintf("cannot read %s%s: %v", path, pkgsSuffix, err)
		}
	}
	f.Sum = hex.EncodeToString(sum.Sum(nil)[:sumBytes])
	return f, problem
}

// identity is what the file is known by, but for its content. It is the same when it is
// read from what was written of it.
func identity(path string, at resolved) api.SentinelFile {
	f := api.SentinelFile{Path: strings.ToValidUTF8(path, "�")}
	if st, ok := at.info.Sys().(*syscall.Stat_t); ok {
		f.Device, f.Inode = uint64(st.Dev), st.Ino
		f.Changed = time.Unix(st.Ctim.Unix()).UTC()
	}
	if y := f.Changed.Year(); y < 1 || y > 9999 { // has no text by RFC 3339
		f.Changed = time.Time{}
	}
	var fs syscall.Statfs_t
	if syscall.Statfs(at.path, &fs) == nil {
		f.Volatile = slices.Contains(madeAtBoot, int64(fs.Type))
	}
	return f
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

const maxPackageName = 128

// packages reads a list of packages, one a line, which may repeat.
func packages(data []byte) []string {
	var out []string
	for line := range bytes.Lines(data) {
		if p := printable.Line(string(line), maxPackageName); p != "" {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
