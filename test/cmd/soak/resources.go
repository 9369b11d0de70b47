package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// resources are what a daemon has taken of its machine: the most of all daemons.
type resources struct{ memory, descriptors, goroutines float64 }

func (r resources) String() string {
	return fmt.Sprintf("%.1f MiB, %.0f descriptors, %.0f goroutines", r.memory/(1<<20), r.descriptors, r.goroutines)
}

// grownFrom says what has grown beyond what is usual.
func (r resources) grownFrom(b resources) error {
	var errs []error
	check := func(what string, was, is float64) {
		if is > was*growth {
			errs = append(errs, fmt.Errorf("a daemon's %s have grown from %.0f to %.0f", what, was, is))
		}
	}
	check("bytes", b.memory, r.memory)
	check("descriptors", b.descriptors, r.descriptors)
	check("goroutines", b.goroutines, r.goroutines)
	return errors.Join(errs...)
}

// resources asks every daemon.
func (s *soak) resources() (most resources, err error) {
	for _, m := range s.machines {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", m.MetricsPort))
		if err != nil {
			return most, fmt.Errorf("ask the daemon of %s what it takes: %w", m.Name, err)
		}
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), " ")
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				continue
			}
			switch name {
			case "process_resident_memory_bytes":
				most.memory = max(most.memory, v)
			case "process_open_fds":
				most.descriptors = max(most.descriptors, v)
			case "go_goroutines":
				most.goroutines = max(most.goroutines, v)
			}
		}
		resp.Body.Close()
	}
	return most, nil
}
