package page

import "strings"

// Browser is what people call a browser by its User-Agent: "Firefox on Linux". Empty when it says nothing that is known.
func Browser(agent string) string {
	name := firstOf(agent, [][2]string{ // each of the first ones says that it is the later ones too
		{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Thunderbird/", "Thunderbird"},
		{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"}, {"CriOS/", "Chrome"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
		{"curl/", "curl"}, {"Wget/", "Wget"},
	})
	system := firstOf(agent, [][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"}, {"Windows", "Windows"}, {"Macintosh", "Mac"}, {"FreeBSD", "FreeBSD"},
		{"OpenBSD", "OpenBSD"}, {"Linux", "Linux"},
	})
	if name == "" || system == "" {
		return name + system
	}
	return name + " on " + system
}

func firstOf(text string, all [][2]string) string {
	for _, x := range all {
		if strings.Contains(text, x[0]) {
			return x[1]
		}
	}
	return ""
}
