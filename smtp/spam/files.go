package spam

import (
	"bytes"
	"strings"
)

// ending is the last ending of a file's name, without the dot.
func ending(name string) string {
	i := strings.LastIndexByte(strings.TrimRight(name, " ."), '.')
	if i < 0 || len(name)-i > 9 {
		return ""
	}
	return strings.TrimRight(name[i+1:], " .")
}

// runs: files of these kinds are programs for who opens them.
func runs(ending string) bool {
	switch ending {
	case "exe", "scr", "com", "pif", "bat", "cmd", "vbs", "vbe", "js", "jse", "wsf", "wsh", "hta", "msi", "msp", "jar", "ps1", "psm1", "cpl", "lnk", "reg", "dll", "sct", "chm", "appx", "msix", "gadget", "application", "scf", "inf", "vb", "xll", "wll", "one", "apk", "url", "library-ms", "settingcontent-ms":
		return true
	}
	return false
}

// contains: files of these kinds hold others.
func contains(ending string) bool {
	switch ending {
	case "zip", "rar", "7z", "gz", "tar", "tgz", "bz2", "xz", "cab", "arj", "lzh", "ace", "z", "r00", "r01", "uue":
		return true
	}
	return false
}

// image: a whole disk, opened with a click.
func image(ending string) bool {
	switch ending {
	case "iso", "img", "vhd", "vhdx", "udf", "daa":
		return true
	}
	return false
}

// innocent: what people send each other; the first ending of a name with two.
func innocent(ending string) bool {
	switch ending {
	case "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "jpg", "jpeg", "png", "gif", "txt", "rtf", "csv", "mp3", "mp4", "htm", "html", "odt":
		return true
	}
	return false
}

// judgeFiles adds the signs of attachments; each once, for the first that has it.
func (f *Findings) judgeFiles() {
	once := map[string]bool{}
	one := func(name string, score float64, file, text string) {
		if !once[name] {
			once[name] = true
			f.sign(name, score, plain(file, 80)+" "+text)
		}
	}
	for _, a := range f.files {
		e := ending(a.name)
		switch {
		case runs(e):
			one("file_program", 4, a.name, "is a program")
			if innocent(ending(strings.TrimSuffix(a.name, "."+e))) {
				one("file_two_endings", 1.5, a.name, "pretends to be something else")
			}
		case image(e):
			one("file_disk", 2.5, a.name, "is a disk that may hold programs")
		case e == "htm" || e == "html" || e == "xhtml" || e == "shtml" || e == "svg" || a.kind == "text/html":
			if e != "svg" || bytes.Contains(a.head, []byte("<script")) {
				one("file_html", 1.5, a.name, "is a web page that opens outside of the mail program")
			}
		}
		if strings.ContainsAny(a.name, "\u202e\u202d") {
			one("file_name_reversed", 3, a.name, "has a name that is written backwards to hide its kind")
		}
		if bytes.HasPrefix(a.head, []byte("MZ")) && !runs(e) {
			one("file_program_hidden", 4, a.name, "is a program under another name")
		}
		judgeArchive(a, e, one)
		judgeMacros(a, e, one)
	}
}

// judgeArchive looks at the names in the first octets of an archive.
func judgeArchive(a file, e string, one func(name string, score float64, file, text string)) {
	if bytes.HasPrefix(a.head, []byte("PK\x03\x04")) {
		for name, locked := range zipNames(a.head) {
			if locked {
				one("file_locked", 2, a.name, "is locked with a password, so that nobody can look into it")
			}
			if inner := ending(strings.ToLower(name)); runs(inner) || image(inner) {
				one("file_program_packed", 3.5, a.name, "holds the program "+plain(name, 80))
			}
		}
		return
	}
	if bytes.HasPrefix(a.head, []byte("Rar!\x1a\x07\x00")) && len(a.head) > 10 && a.head[10]&0x80 != 0 {
		one("file_locked", 2, a.name, "is locked with a password, so that nobody can look into it")
	}
	if contains(e) && (e == "ace" || e == "arj" || e == "lzh" || e == "cab" || e == "uue" || e == "r00" || e == "r01" || e == "z") {
		one("file_odd_archive", 1.5, a.name, "is an archive of a kind that hardly anybody uses")
	}
}

// zipNames yields the names of the files whose local headers are in the first octets (APPNOTE 4.3.7), and whether they are encrypted.
func zipNames(b []byte) map[string]bool {
	names := map[string]bool{}
	for len(names) < 100 {
		i := bytes.Index(b, []byte("PK\x03\x04"))
		if i < 0 || len(b) < i+30 {
			break
		}
		h := b[i:]
		n := int(h[26]) | int(h[27])<<8
		if len(h) < 30+n || n == 0 || n > 512 {
			b = b[i+4:]
			continue
		}
		names[string(h[30:30+n])] = h[6]&1 != 0
		b = h[30+n:]
	}
	return names
}

// judgeMacros looks for documents that run programs.
func judgeMacros(a file, e string, one func(name string, score float64, file, text string)) {
	switch e {
	case "docm", "xlsm", "pptm", "dotm", "xltm", "potm", "xlam", "ppam", "xlsb", "slk", "iqy":
		one("file_macros", 2, a.name, "is a document that may run programs (macros)")
		return
	}
	if bytes.Contains(a.head, []byte("vbaProject.bin")) || bytes.HasPrefix(a.head, []byte("\xd0\xcf\x11\xe0")) && bytes.Contains(a.head, []byte("_VBA_PROJECT")) {
		one("file_macros", 2, a.name, "is a document that may run programs (macros)")
	}
}
