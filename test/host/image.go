// Package host starts machines with a real systemd, D-Bus and logind, in containers
// by systemd-nspawn: they boot in a second, and reboot for real as far as userspace
// goes. The kernel, its uptime and its clock are the ones of the machine that the
// tests run on.
//
// It needs root, and touches nothing of the systemd, the cgroups or the network of
// that machine: nspawn is unpacked and not installed, nothing is registered with
// machined, and every machine has cgroups of its own, which are removed afterwards.
package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"rebootd.dev/test/cluster"
)

// Suites are the Debian releases that there are images of: systemd 252, and 257,
// which differ in what an inhibitor does and in whether there is a soft reboot.
var Suites = []string{"bookworm", "trixie"}

// packages are in every image.
const packages = "systemd,systemd-sysv,dbus,libpam-systemd,mount"

// masked are units that would touch what the container shares with the machine.
var masked = []string{
	"systemd-networkd.service", "systemd-networkd.socket", "systemd-udevd.service", "systemd-resolved.service",
	"systemd-modules-load.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer",
}

// Image is the root of a machine that has just been installed.
type Image struct {
	Suite string
	dir   string
}

// Debian makes the image of a suite, with more packages (separated by commas) if
// they are named, once: it is kept beside the control plane's programs.
func Debian(suite, more string) (*Image, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("real machines need root: they are containers")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return nil, errors.New("real machines need mmdebstrap (`make deps` installs it)")
	}
	cache, err := cluster.CacheDir()
	if err != nil {
		return nil, err
	}
	include := packages
	if more != "" {
		include += "," + more
	}
	key := sha256.Sum256([]byte(include + strings.Join(masked, " ")))
	dir := filepath.Join(cache, suite+"-"+hex.EncodeToString(key[:4]))
	unlock, err := cluster.LockFile(dir + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	img := &Image{Suite: suite, dir: dir}
	if _, err := os.Stat(dir); err == nil {
		return img, nil
	}
	fmt.Fprintf(os.Stderr, "making a root of Debian %s (once, kept in %s)\n", suite, dir)
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return nil, fmt.Errorf("make a root of Debian %s: %w", suite, err)
	}
	out, err := exec.Command("mmdebstrap", "--variant=minbase", "--include="+include,
		`--aptopt=Acquire::Languages "none"`, `--aptopt=APT::Install-Recommends "false"`,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		suite, part).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make a root of Debian %s: %w\n%s", suite, err, out)
	}
	for _, u := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(part, "etc/systemd/system", u)); err != nil {
			return nil, fmt.Errorf("mask %s: %w", u, err)
		}
	}
	if err := os.Remove(filepath.Join(part, "etc/fstab")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make a root of Debian %s: %w", suite, err)
	}
	if err := os.Rename(part, dir); err != nil {
		return nil, fmt.Errorf("keep the root of Debian %s: %w", suite, err)
	}
	return img, nil
}

// nspawn is where systemd-nspawn was unpacked to: its package would replace the
// systemd of the machine.
func nspawn() (dir string, err error) {
	cache, err := cluster.CacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, "nspawn")
	unlock, err := cluster.LockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(cache, "nspawn-")
	if err != nil {
		return "", fmt.Errorf("unpack systemd-nspawn: %w", err)
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("sh", "-ec", `apt-get download -qq systemd-container libsystemd-shared; for d in *.deb; do dpkg -x $d x; done`)
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack systemd-nspawn: %w\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(tmp, "x"), dir); err != nil {
		return "", fmt.Errorf("unpack systemd-nspawn: %w", err)
	}
	return dir, nil
}
