// Checks the product's log files with Go's own sumdb packages. Exit 0: accepted, 1: refused with the reason, 2: not asked properly.
//
//	verify note VKEY NOTE
//	verify inclusion VKEY PROOF ENTRY
//	verify consistency VKEY CHECKPOINT PROOF
//	verify dirhash DIR
package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var malformed = errors.New("malformed")

func main() {
	commands := map[string]struct {
		arguments int
		run       func([]string) error
	}{
		"note":        {2, checkNote},
		"inclusion":   {3, checkInclusion},
		"consistency": {3, checkConsistency},
		"dirhash":     {1, printDirhash},
	}
	if len(os.Args) < 2 || commands[os.Args[1]].run == nil || commands[os.Args[1]].arguments != len(os.Args)-2 {
		fmt.Fprintln(os.Stderr, "usage: verify note|inclusion|consistency|dirhash ...")
		os.Exit(2)
	}
	if err := commands[os.Args[1]].run(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
}

func checkNote(arguments []string) error {
	_, err := openNote(arguments[0], read(arguments[1]))
	return err
}

func checkInclusion(arguments []string) error {
	head, checkpoint, found := strings.Cut(string(read(arguments[1])), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		return malformed
	}
	index, err := number(strings.TrimPrefix(lines[1], "index "))
	if err != nil {
		return err
	}
	path, err := hashes(lines[2:])
	if err != nil {
		return err
	}
	size, root, err := openCheckpoint(arguments[0], []byte(checkpoint))
	if err != nil {
		return err
	}
	return tlog.CheckRecord(path, size, root, index, tlog.RecordHash(read(arguments[2])))
}

func checkConsistency(arguments []string) error {
	newer, newerRoot, err := openCheckpoint(arguments[0], read(arguments[1]))
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(read(arguments[2])), "\n"), "\n")
	if len(lines) < 2 {
		return malformed
	}
	older, err := number(lines[0])
	if err != nil {
		return err
	}
	path, err := hashes(lines[1:])
	if err != nil {
		return err
	}
	return tlog.CheckTree(path[1:], newer, newerRoot, older, path[0])
}

func printDirhash(arguments []string) error {
	hash, err := dirhash.HashDir(arguments[0], "", dirhash.Hash1)
	fmt.Println(hash)
	return err
}

func openNote(key string, data []byte) (*note.Note, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		fmt.Fprintln(os.Stderr, "this is no verifier key:", err)
		os.Exit(2)
	}
	return note.Open(data, note.VerifierList(verifier))
}

func openCheckpoint(key string, data []byte) (int64, tlog.Hash, error) {
	opened, err := openNote(key, data)
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != opened.Sigs[0].Name {
		return 0, tlog.Hash{}, malformed
	}
	size, err := number(lines[1])
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return size, root, err
}

func number(text string) (int64, error) {
	value, err := strconv.ParseInt(text, 10, 64)
	if err == nil && (value < 0 || strconv.FormatInt(value, 10) != text) {
		err = malformed
	}
	return value, err
}

func hashes(lines []string) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, line := range lines {
		data, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(data) != tlog.HashSize {
			return nil, malformed
		}
		found = append(found, tlog.Hash(*(*[tlog.HashSize]byte)(data)))
	}
	return found, nil
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return data
}
