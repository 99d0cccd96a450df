package kubeconfig

import (
	"io/fs"
	"os"
)

// keepOwner does nothing: a file inherits its folder's access list.
func keepOwner(*os.File, fs.FileInfo) {}
