package diskspace

import "golang.org/x/sys/windows"

// At returns the bytes that are free at dir, which exists, for this user.
func At(dir string) (int64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(path, &free, nil, nil)
	return int64(free), err
}
