//! Passwords that everybody tries first. The list is our own: words and walks over the keyboard, matched after the usual
//! disguises are taken off (`model::password`), so that a few hundred entries stand for the many thousands of variants
//! that lists of leaked passwords hold.

/// Lower case, without digits or punctuation around.
pub const WORDS: &[&str] = &[
    "password", "passwort", "passwd", "pass", "kennwort", "geheim", "secret", "letmein", "welcome", "willkommen", "admin",
    "administrator", "root", "user", "benutzer", "guest", "gast", "login", "test", "testing", "default", "changeme",
    "changeit", "change", "temp", "temporary", "master", "superuser", "system", "server", "service", "access", "zugang",
    "hello", "hallo", "monkey", "dragon", "sunshine", "sonnenschein", "princess", "prinzessin", "football", "fussball",
    "baseball", "basketball", "hockey", "soccer", "shadow", "superman", "batman", "spiderman", "pokemon", "starwars", "trustno",
    "iloveyou", "ichliebedich", "iloveu", "love", "liebe", "schatz", "schatzi", "engel", "angel", "baby", "mausi", "hase", "hasi",
    "michael", "jennifer", "jordan", "thomas", "andreas", "stefan", "daniel", "alexander", "sebastian", "martin", "charlie",
    "ashley", "jessica", "nicole", "hunter", "ranger", "buster", "killer", "pepper", "ginger", "summer", "sommer", "winter",
    "spring", "fruehling", "herbst", "autumn", "januar", "januar", "february", "computer", "internet", "samsung", "google",
    "facebook", "linkedin", "microsoft", "windows", "linux", "debian", "ubuntu", "apple", "iphone", "android", "mustang", "ferrari",
    "mercedes", "porsche", "volkswagen", "yamaha", "harley", "corvette", "freedom", "freiheit", "whatever", "nothing", "nichts",
    "qwerty", "qwertz", "qwertyuiop", "qwertzuiop", "asdf", "asdfgh", "asdfghjkl", "zxcvbn", "zxcvbnm", "yxcvbn", "yxcvbnm", "qazwsx",
    "qazwsxedc", "qayxsw", "wasd", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh", "abcxyz", "xyz", "aaa", "correcthorsebatterystaple",
    "correct", "horse", "battery", "staple", "deutschland", "germany", "berlin", "hamburg", "muenchen", "munich", "bayern", "schalke",
    "dortmund", "borussia", "europe", "europa", "england", "london", "liverpool", "arsenal", "chelsea", "barcelona", "madrid", "paris",
    "hafen", "harbour", "harbor", "devops", "kubernetes", "docker", "cloud", "company", "firma", "office", "buero", "work", "arbeit",
    "money", "geld", "banking", "matrix", "ninja", "azerty", "solo", "passw", "qwer", "qwert", "zaq", "cookie", "chocolate",
    "schokolade", "flower", "blume", "butterfly", "schmetterling", "purple", "orange", "silver", "golden", "diamond", "tigger", "tiger",
    "the", "my", "mein", "is", "ist", "das", "a", "i", "your", "this", "for", "and", "und", "new", "neu", "one", "two",
];

/// Rows a finger walks along, forwards and backwards.
pub const WALKS: &[&str] = &[
    "abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6zhn7ujm", "1qay2wsx3edc4rfv", "!@#$%^&*()", "!\"§$%&/()=", "q1w2e3r4t5y6u7i8o9p0", "q1w2e3r4t5z6u7i8o9p0",
];
