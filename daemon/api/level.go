package api

// Level is how much of the machine a reboot starts over.
type Level string

// The levels, from the least to the most (systemctl(1)): userspace alone; the kernel,
// without the firmware; everything.
const (
	SoftReboot Level = "soft-reboot"
	Kexec      Level = "kexec"
	FullReboot Level = "reboot"
)
