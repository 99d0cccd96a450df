package aks

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/errs"
)

// sshFlags say which key signs in to nodes. Without any of them none does.
type sshFlags struct {
	value, user string
	generate    bool
}

func newSSHFlags(c *cobra.Command) *sshFlags {
	x := &sshFlags{}
	f := c.Flags()
	f.StringVar(&x.value, "ssh-key-value", "", "public key for nodes, or its file")
	f.StringVarP(&x.user, "admin-username", "u", "azureuser", "user on nodes")
	f.BoolVar(&x.generate, "generate-ssh-keys", false, "use ~/.ssh/id_rsa for nodes, and make it if it is not there")
	f.Bool("no-ssh-key", false, "no key for nodes; the default")
	f.Lookup("no-ssh-key").Hidden = true
	return x
}

// add puts the key into a cluster's properties.
func (x *sshFlags) add(p *armcontainerservice.ManagedClusterProperties, s *azure.Session) error {
	if x.value == "" && !x.generate {
		return nil
	}
	text := x.value
	if raw, err := os.ReadFile(text); err == nil {
		text = string(raw)
	}
	if x.value == "" {
		var err error
		if text, err = ownKey(s); err != nil {
			return err
		}
	}
	text = strings.TrimSpace(text)
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text)); err != nil {
		return azure.Usagef("--ssh-key-value is neither a public key nor a file with one")
	}
	p.LinuxProfile = &armcontainerservice.LinuxProfile{AdminUsername: &x.user, SSH: &armcontainerservice.SSHConfiguration{PublicKeys: []*armcontainerservice.SSHPublicKey{{KeyData: &text}}}}
	return nil
}

// ownKey reads the person's public key, and makes a pair if there is none.
func ownKey(s *azure.Session) (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	private := filepath.Join(home, ".ssh", "id_rsa")
	raw, err := os.ReadFile(private + ".pub")
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return string(raw), err
	}
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		return "", err
	}
	public, err := ssh.NewPublicKey(&key.PublicKey)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(private), 0o700); err != nil {
		return "", err
	}
	// An own private key without its public half is not overwritten.
	f, err := os.OpenFile(private, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", errs.Wrap(errs.Exists, err, "The SSH key cannot be made: give one with --ssh-key-value")
	}
	err = pem.Encode(f, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	text := string(ssh.MarshalAuthorizedKey(public))
	s.Warnf("SSH key files '%s' and '%s.pub' have been generated.", private, private)
	return text, os.WriteFile(private+".pub", []byte(text), 0o644)
}
