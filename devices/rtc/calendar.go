package rtc

import "godwit/devices"

const daySecs = 86400

// moment is a time of day as the registers show it, in numbers.
type moment struct {
	sec, min, hour, weekday, day, month, year int64
}

// civil returns the calendar of a count of seconds since 1970 (proleptic
// Gregorian). Years are counted from March, so that the leap day is the last.
func civil(secs int64) moment {
	days := floorDiv(secs, daySecs)
	rest := secs - days*daySecs
	z := days + 719468 // since 0000-03-01
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	m := moment{
		sec: rest % 60, min: rest / 60 % 60, hour: rest / 3600,
		weekday: floorMod(days+4, 7) + 1, // 1970-01-01 was a Thursday; Sunday is 1
		day:     doy - (153*mp+2)/5 + 1,
		month:   floorMod(mp+2, 12) + 1,
		year:    yoe + era*400,
	}
	if m.month <= 2 {
		m.year++
	}
	return m
}

// seconds is the inverse of civil; fields out of range carry over.
func (m moment) seconds() int64 {
	y := m.year
	if m.month <= 2 {
		y--
	}
	era := floorDiv(y, 400)
	yoe := y - era*400
	doy := (153*floorMod(m.month-3, 12)+2)/5 + m.day - 1
	days := era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
	return days*daySecs + m.hour*3600 + m.min*60 + m.sec
}

func floorDiv(a, b int64) int64 { return (a - floorMod(a, b)) / b }

func floorMod(a, b int64) int64 { return (a%b + b) % b }

// encode shows a number as the mode in register B says, decode reads it.
func (r *RTC) encode(n int64) uint8 {
	if r.B&bDM != 0 {
		return uint8(n)
	}
	return uint8(n/10%10<<4 | n%10)
}

func (r *RTC) decode(v uint8) int64 {
	if r.B&bDM != 0 {
		return int64(v)
	}
	return int64(v>>4)*10 + int64(v&15)
}

const hourPM = 1 << 7

func (r *RTC) encodeHour(h int64) uint8 {
	if r.B&b24 != 0 {
		return r.encode(h)
	}
	v := r.encode((h+11)%12 + 1)
	if h >= 12 {
		v |= hourPM
	}
	return v
}

func (r *RTC) decodeHour(v uint8) int64 {
	if r.B&b24 != 0 {
		return r.decode(v)
	}
	h := r.decode(v&^hourPM) % 12
	if v&hourPM != 0 {
		h += 12
	}
	return h
}

// timeReg returns one of the time's registers for a time of day.
func (r *RTC) timeReg(i uint8, secs int64) uint8 {
	m := civil(secs)
	switch i {
	case regSec:
		return r.encode(m.sec)
	case regMin:
		return r.encode(m.min)
	case regHour:
		return r.encodeHour(m.hour)
	case regWeekday:
		return r.encode((m.weekday-1+int64(r.WDAY))%7 + 1)
	case regDay:
		return r.encode(m.day)
	case regMonth:
		return r.encode(m.month)
	case regYear:
		return r.encode(floorMod(m.year, 100))
	}
	return r.encode(floorMod(floorDiv(m.year, 100), 100)) // Century
}

var timeRegs = [8]uint8{regSec, regMin, regHour, regWeekday, regDay, regMonth, regYear, Century}

func isTime(i uint8) bool {
	return i == Century || i <= regYear && (i&1 == 0 || i >= regDay)
}

// freeze writes the running time into the registers, for the guest to change.
func (r *RTC) freeze(t devices.Nanos) {
	for _, i := range timeRegs {
		r.RAM[i] = r.timeReg(i, r.secs(t))
	}
}

// thaw runs on from the time in the registers, in the present second. Values that
// no clock shows are brought into range.
func (r *RTC) thaw(t devices.Nanos) {
	field := func(i uint8, lo, hi int64) int64 { return min(max(r.decode(r.RAM[i]), lo), hi) }
	m := moment{
		sec: field(regSec, 0, 59), min: field(regMin, 0, 59), hour: min(r.decodeHour(r.RAM[regHour]), 23),
		day: field(regDay, 1, 31), month: field(regMonth, 1, 12),
		year: field(Century, 0, 99)*100 + field(regYear, 0, 99),
	}
	weekday := field(regWeekday, 1, 7)
	for _, i := range timeRegs {
		r.RAM[i] = 0
	}
	r.BASE += r.elapsed(t) / second * second
	r.SECS = m.seconds()
	r.WDAY = uint8(floorMod(weekday-civil(r.SECS).weekday, 7))
}

// nextAlarm is the first second after from that the alarm matches: each of its
// bytes is a value or, from C0h on, any [MC146818A Alarm].
func (r *RTC) nextAlarm(from int64) (int64, bool) {
	s, m, h := r.RAM[regSecAlm], r.RAM[regMinAlm], r.RAM[regHourAlm]
	day := floorDiv(from, daySecs)
	for _, d := range [2]int64{day, day + 1} {
		for hour := range int64(24) {
			if h < 0xc0 && r.encodeHour(hour) != h {
				continue
			}
			if at, ok := r.matchHour(d*daySecs+hour*3600, from, m, s); ok {
				return at, true
			}
		}
	}
	return 0, false
}

// matchHour finds the first match after from in the hour that begins at start.
func (r *RTC) matchHour(start, from int64, m, s uint8) (int64, bool) {
	if start+3600 <= from {
		return 0, false
	}
	for minute := range int64(60) {
		if m < 0xc0 && r.encode(minute) != m || start+minute*60+60 <= from {
			continue
		}
		for sec := range int64(60) {
			at := start + minute*60 + sec
			if at > from && (s >= 0xc0 || r.encode(sec) == s) {
				return at, true
			}
		}
	}
	return 0, false
}
