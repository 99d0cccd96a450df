package pop

// ThumbprintForTest is the thumbprint of a key with exponent 65537.
func ThumbprintForTest(n string) string { return thumbprint(n) }
