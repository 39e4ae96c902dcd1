package rtf

import (
	"strconv"
	"strings"
)

// The kinds of numbers (\levelnfc) that the code asks for by name; the others
// are in numberFormats. The values are those of [MS-OSHARED] 2.2.1.3.
const (
	nfcUpperRoman  = 1
	nfcLowerRoman  = 2
	nfcUpperLetter = 3
	nfcLowerLetter = 4
	nfcOrdinal     = 5
	nfcTwoDigits   = 22
	nfcBullet      = 23
	nfcNone        = 255
)

// numberFormats write numbers from 1 up that are neither Roman nor letters of
// ours. The names are those of ISO/IEC 29500-1 17.18.59, the characters those
// of [MS-DOCX] 2.4. Kinds that are not here are decimal: decimalHalfWidth (15),
// and the numbers in words of Hindi (52), Thai (55) and Vietnamese (56).
var numberFormats = map[int]func(n int) string{
	nfcOrdinal:   ordinal,
	6:            cardinalText,
	7:            ordinalText,
	8:            func(n int) string { return strings.ToUpper(strconv.FormatInt(int64(n), 16)) },
	9:            repeated("*†‡§"), // chicago
	10:           digits("〇一二三四五六七八九"),
	11:           counting{digits: "零一二三四五六七八九", units: "十百千万", ones: oneAtMyriads}.number, // japaneseCounting
	12:           cycle(halfAiueo),
	13:           cycle(halfIroha),
	14:           digits(fullDigits),
	16:           counting{digits: "零壱弐参四伍六七八九", units: "拾百阡萬"}.number, // japaneseLegal
	17:           digits("〇一二三四五六七八九"),                                 // japaneseDigitalTenThousand
	18:           enclosed('①', 20),
	19:           digits(fullDigits),
	20:           cycle(fullAiueo),
	21:           cycle(fullIroha),
	nfcTwoDigits: func(n int) string { return strings.Repeat("0", max(0, 2-len(strconv.Itoa(n)))) + strconv.Itoa(n) },
	24:           cycle("가나다라마바사아자차카타파하"), // ganada
	25:           cycle("ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"), // chosung
	26:           enclosed('⒈', 20),
	27:           enclosed('⑴', 20),
	28:           enclosed('①', 20),   // decimalEnclosedCircleChinese
	29:           enclosed('㈠', 10),   // ideographEnclosedCircle, which Word puts in parentheses ([MS-OI29500] 2.1.540)
	30:           once(heavenlyStems), // ideographTraditional
	31:           once(earthlyBranches),
	32:           sexagenary,
	33:           hundredsAsDigits("○一二三四五六七八九"),                                                        // taiwaneseCounting
	34:           counting{digits: "零壹貳參肆伍陸柒捌玖", units: "拾佰仟萬", zeros: true}.number,                     // ideographLegalTraditional
	35:           counting{digits: "零一二三四五六七八九", units: "十百千萬", ones: oneButForTen, zeros: true}.number, // taiwaneseCountingThousand
	36:           digits("○一二三四五六七八九"),                                                                  // taiwaneseDigital
	37:           hundredsAsDigits("○一二三四五六七八九"),                                                        // chineseCounting
	38:           counting{digits: "零壹贰叁肆伍陆柒捌玖", units: "拾佰仟万", zeros: true}.number,                     // chineseLegalSimplified
	39:           counting{digits: "零一二三四五六七八九", units: "十百千万", ones: oneButForTen, zeros: true}.number, // chineseCountingThousand
	41:           digits(koreanDigits),
	42:           counting{digits: koreanDigits, units: "십백천만", ones: oneAtMyriads}.number, // koreanCounting
	43:           koreanLegal,
	44:           digits("零一二三四五六七八九"), // koreanDigital2
	45:           hebrewNumeral,        // hebrew1
	46:           repeated("أبتثجحخدذرزسشصضطظعغفقكلمنهوي"),
	47:           hebrewLetters, // hebrew2
	48:           repeated("أبجدهوزحطيكلمنسعفصقرشتثخذضظغ"),
	49:           repeated(letterRange(0x0915, 0x0939)),                       // hindiVowels, for which Word writes consonants ([MS-OI29500] 2.1.540)
	50:           repeated(letterRange(0x0905, 0x0914)),                       // and for hindiConsonants vowels
	51:           digits("०१२३४५६७८९"),                                        // hindiNumbers
	53:           repeated("กขค" + letterRange(0x0E07, 0x0E23) + "ลวศษสหฬอฮ"), // thaiLetters
	54:           digits("๐๑๒๓๔๕๖๗๘๙"),
	57:           func(n int) string { return "- " + strconv.Itoa(n) + " -" }, // numberInDash
	58:           repeated("абвгдежзиклмнопрстуфхцчшщыэюя"),
	59:           repeated("АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЫЭЮЯ"),
}

const (
	fullDigits      = "０１２３４５６７８９"
	koreanDigits    = "영일이삼사오육칠팔구"
	heavenlyStems   = "甲乙丙丁戊己庚辛壬癸"
	earthlyBranches = "子丑寅卯辰巳午未申酉戌亥"
	halfAiueo       = "ｱｲｳｴｵｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾅﾆﾇﾈﾉﾊﾋﾌﾍﾎﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜｦﾝ"
	fullAiueo       = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
	halfIroha       = "ｲﾛﾊﾆﾎﾍﾄﾁﾘﾇﾙｦﾜｶﾖﾀﾚｿﾂﾈﾅﾗﾑｳヰﾉｵｸﾔﾏｹﾌｺｴﾃｱｻｷﾕﾒﾐｼヱﾋﾓｾｽﾝ"
	fullIroha       = "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセスン"
)

// writeNumber writes a number.
func writeNumber(nfc, n int) string {
	if nfc == nfcNone || nfc == nfcBullet {
		return ""
	}
	if k, ok := orderedKind(nfc); ok {
		return k.number(n)
	}
	if f := numberFormats[nfc]; f != nil && n >= 1 {
		return f(n)
	}
	if nfc == nfcTwoDigits && n == 0 {
		return "00"
	}
	return strconv.Itoa(n)
}

// maxRepeats is how often a letter is repeated at most in one number, so that
// labels stay short.
const maxRepeats = 8

// repeated numbers by letters: behind the last comes the first, twice.
func repeated(letters string) func(n int) string {
	set := []rune(letters)
	return func(n int) string {
		if n > len(set)*maxRepeats {
			return strconv.Itoa(n)
		}
		return strings.Repeat(string(set[(n-1)%len(set)]), (n-1)/len(set)+1)
	}
}

// cycle numbers by letters: behind the last comes the first. The standard
// repeats kana; Word does not ([MS-OI29500] 2.1.540).
func cycle(letters string) func(n int) string {
	set := []rune(letters)
	return func(n int) string { return string(set[(n-1)%len(set)]) }
}

// once numbers by letters as far as they go.
func once(letters string) func(n int) string {
	set := []rune(letters)
	return func(n int) string {
		if n > len(set) {
			return strconv.Itoa(n)
		}
		return string(set[n-1])
	}
}

// enclosed numbers by characters of Unicode that stand in a row, of which first
// is the first.
func enclosed(first rune, count int) func(n int) string {
	return once(letterRange(first, first+rune(count)-1))
}

func letterRange(first, last rune) string {
	var s strings.Builder
	for r := first; r <= last; r++ {
		s.WriteRune(r)
	}
	return s.String()
}

// digits writes a decimal number in other digits.
func digits(set string) func(n int) string {
	d := []rune(set)
	return func(n int) string {
		return strings.Map(func(r rune) rune { return d[r-'0'] }, strconv.Itoa(n))
	}
}

// hundredsAsDigits counts with a word for ten up to 99, and writes what is
// above as digits.
func hundredsAsDigits(set string) func(n int) string {
	small, large := counting{digits: set, units: "十百千万", ones: oneButForTen}, digits(set)
	return func(n int) string {
		if n < 100 {
			return small.number(n)
		}
		return large(n)
	}
}

// ones says where a one before a unit is not written.
type ones uint8

const (
	oneAlways    ones = iota // 壹拾, 壹佰
	oneButForTen             // 十 at the beginning of a number, 一百
	oneAtMyriads             // 十, 百, 千; 一万
)

// counting writes numbers in words for digits and units, as in East Asia.
type counting struct {
	digits string // of 0 to 9
	units  string // of 10, 100, 1000, 10000
	ones   ones
	zeros  bool // a gap is written as zero
}

// number writes numbers below 100 million.
func (c counting) number(n int) string {
	const myriad = 10_000
	if n >= myriad*myriad {
		return strconv.Itoa(n)
	}
	var s strings.Builder
	if high := n / myriad; high > 0 {
		c.group(&s, high, false)
		s.WriteRune([]rune(c.units)[3])
	}
	c.group(&s, n%myriad, n >= myriad)
	return s.String()
}

// group writes four digits; behind tells that others went before.
func (c counting) group(s *strings.Builder, n int, behind bool) {
	digits, units := []rune(c.digits), []rune(c.units)
	gap, begun := false, behind
	for place, size := 3, 1000; place >= 0; place, size = place-1, size/10 {
		d := n / size % 10
		if d == 0 {
			gap = begun
			continue
		}
		if gap && c.zeros {
			s.WriteRune(digits[0])
		}
		if place == 0 || d > 1 || c.writesOne(place, begun) {
			s.WriteRune(digits[d])
		}
		if place > 0 {
			s.WriteRune(units[place-1])
		}
		gap, begun = false, true
	}
}

// writesOne tells whether a one is written before the unit of a place.
func (c counting) writesOne(place int, begun bool) bool {
	switch c.ones {
	case oneAtMyriads:
		return false
	case oneButForTen:
		return place > 1 || begun
	}
	return true
}

// sexagenary numbers by the cycle of stems and branches (ideographZodiacTraditional).
func sexagenary(n int) string {
	const cycle = 60
	if n > cycle {
		return strconv.Itoa(n)
	}
	stems, branches := []rune(heavenlyStems), []rune(earthlyBranches)
	return string([]rune{stems[(n-1)%len(stems)], branches[(n-1)%len(branches)]})
}

// koreanLegal counts in native words, which end at 99.
func koreanLegal(n int) string {
	if n > 99 {
		return strconv.Itoa(n)
	}
	tens := [10]string{"", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔"}
	ones := [10]string{"", "하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉"}
	return tens[n/10] + ones[n%10]
}

// hebrewNumeral writes n, up to 999, in letters that have values.
func hebrewNumeral(n int) string {
	if n > 999 {
		return strconv.Itoa(n)
	}
	ones, tens, hundreds := []rune("אבגדהוזחט"), []rune("יכלמנסעפצ"), []rune("קרשתךםןףץ")
	var s strings.Builder
	if n >= 100 {
		s.WriteRune(hundreds[n/100-1])
	}
	switch rest := n % 100; {
	case rest == 15, rest == 16: // never 10 and 5 or 6, which begin the name of God
		s.WriteRune(ones[9-1])
		s.WriteRune(ones[rest-9-1])
		return s.String()
	case rest >= 10:
		s.WriteRune(tens[rest/10-1])
	}
	if n%10 > 0 {
		s.WriteRune(ones[n%10-1])
	}
	return s.String()
}

// hebrewLetters numbers by the letters of the alphabet. Behind the last, a
// letter is followed by the last one, as often as the alphabet was gone through.
func hebrewLetters(n int) string {
	set := []rune("אבגדהוזחטיכלמנסעפצקרשת")
	if n > len(set)*maxRepeats {
		return strconv.Itoa(n)
	}
	return string(set[(n-1)%len(set)]) + strings.Repeat("ת", (n-1)/len(set))
}

func ordinal(n int) string {
	suffix := "th"
	if n/10%10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

// The names of numbers up to 19, of tens, and the ordinal ones that are
// irregular.
var (
	smallNumbers = []string{"", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
		"thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"}
	tensNumbers = []string{"", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"}
	ordinals    = []struct{ cardinal, ordinal string }{{"one", "first"}, {"two", "second"}, {"three", "third"}, {"five", "fifth"},
		{"eight", "eighth"}, {"nine", "ninth"}, {"twelve", "twelfth"}, {"y", "ieth"}, {"", "th"}}
)

// maxWords is the highest number that is written in words.
const maxWords = 9999

// inWords writes n in English, which is what Word does where the language of the
// text has no such numbers.
func inWords(n int) string {
	var s []string
	if n >= 1000 {
		s = append(s, smallNumbers[n/1000], "thousand")
	}
	if h := n / 100 % 10; h > 0 {
		s = append(s, smallNumbers[h], "hundred")
	}
	switch rest := n % 100; {
	case rest == 0:
	case rest < len(smallNumbers):
		s = append(s, smallNumbers[rest])
	case rest%10 == 0:
		s = append(s, tensNumbers[rest/10])
	default:
		s = append(s, tensNumbers[rest/10]+"-"+smallNumbers[rest%10])
	}
	return strings.Join(s, " ")
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func cardinalText(n int) string {
	if n > maxWords {
		return strconv.Itoa(n)
	}
	return capital(inWords(n))
}

func ordinalText(n int) string {
	if n > maxWords {
		return ordinal(n)
	}
	s := inWords(n)
	for _, o := range ordinals {
		if strings.HasSuffix(s, o.cardinal) {
			return capital(strings.TrimSuffix(s, o.cardinal) + o.ordinal)
		}
	}
	return s
}
