// Package zones finds time zones by their names, also where the system has no data of
// them, as in an image that holds nothing but the program.
//
// The data is that of the Go release which the first line of zones.gz names (56 kB; the
// standard library's time/tzdata would be 410 kB). zones.gz is a gzip file: that line;
// for each zone its length in bytes and its names, joined by commas; an empty line; and
// the zones one after the other in the format of tzfile(5). After a change of the Go
// release, "go generate ./daemon/window/zones" makes it from that release.
package zones

import (
	"bufio"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

//go:generate go test -run TestZones -rewrite

//go:embed zones.gz
var packed string

// Load finds a zone by its name in the IANA database: in the system's data, which may be
// newer (where [time.LoadLocation] looks, the environment variable ZONEINFO included),
// else in its own. Its own is unpacked anew for each call, which takes milliseconds, and
// nothing of it is kept.
//
// It finds no zone that is not the same on every machine: neither "Local" nor "".
func Load(name string) (*time.Location, error) { return load(name, time.LoadLocation) }

func load(name string, system func(string) (*time.Location, error)) (*time.Location, error) {
	switch first, _, _ := strings.Cut(name, "/"); first {
	case "", "Local", "localtime", "posixrules", "posix", "right": // the last two: the same names once more, with leap seconds the last
		return nil, errors.New("not the name of a time zone that is the same on every machine")
	}
	if loc, err := system(name); err == nil {
		return loc, nil
	}
	data, alike, err := embedded(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the built-in time zones: %w", err)
	case data != nil:
		return time.LoadLocationFromTZData(name, data)
	case alike != "":
		return nil, fmt.Errorf("not found; did you mean %s?", alike)
	}
	return nil, errors.New("not found, neither in the system's data nor in the built-in data")
}

// embedded is the data of a zone, nil if there is none of that name. alike is then a
// name that differs from it in case only, if there is one.
func embedded(name string) (data []byte, alike string, err error) {
	z, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		return nil, "", err
	}
	r := bufio.NewReader(z)
	if _, err := r.ReadString('\n'); err != nil { // the Go release
		return nil, "", err
	}
	skip, length := int64(0), int64(-1)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, "", err
		}
		if line == "\n" {
			break
		}
		size, names, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			return nil, "", err
		}
		for one := range strings.SplitSeq(names, ",") {
			switch {
			case one == name:
				length = n
			case strings.EqualFold(one, name):
				alike = one
			}
		}
		if length < 0 {
			skip += n
		}
	}
	if length < 0 {
		return nil, alike, nil
	}
	if _, err := io.CopyN(io.Discard, r, skip); err != nil {
		return nil, "", err
	}
	data = make([]byte, length)
	_, err = io.ReadFull(r, data)
	return data, "", err
}
