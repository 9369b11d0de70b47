package lease_test

import (
	"testing"

	"rebootd.dev/lock/lease/leasetest"
	"rebootd.dev/lock/locktest"
)

// The contract, in front of an API server that is a fake. Package test/lock has the same
// suite in front of a real one.
func TestContract(t *testing.T) {
	locktest.Run(t, locktest.Backend{FakeTime: true, New: func(t testing.TB) locktest.World { return leasetest.NewFakeWorld(t, nil) }})
}
