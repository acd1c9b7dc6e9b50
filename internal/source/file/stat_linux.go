package file

import "syscall"

// stamp tells one state of a file from another.
type stamp struct {
	inode        uint64
	size         int64
	mtime, ctime syscall.Timespec
}

func statFile(name string) (stamp, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(name, &st); err != nil {
		return stamp{}, err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return stamp{}, errIrregular
	}
	return stamp{inode: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}, nil
}

// renamed reports whether a file that just appeared was written elsewhere and
// renamed into place, so that it is whole: a rename moves only the ctime on.
func renamed(name string) bool {
	st, err := statFile(name)
	return err == nil && st.ctime != st.mtime
}
