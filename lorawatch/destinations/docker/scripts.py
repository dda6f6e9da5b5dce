r"""What is run inside a container: POSIX sh with the tools of coreutils or busybox, and how names travel there.

shell.py runs these. Every name is an argument of its own, each byte that is not plain written as `\0ooo`: neither the
shell nor the JSON of Docker's API, which has no bytes, can misread it. Results are lines on stdout; the last one is
`end`, so that a call that was cut off is known as such.
"""

import os

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-")
# Without one of these `docker cp` is used. find, sync, openssl and sha256sum have other ways beside them.
TOOLS = ("cat", "chmod", "chown", "ln", "mkdir", "mv", "printf", "rm", "stat")
END = "end"

# noclobber makes ">" create and never overwrite. `stat` does not follow links; busybox and coreutils print the same.
_PROLOGUE = """
LC_ALL=C TZ=UTC0
export LC_ALL TZ
umask 077
set -fC
name() { n=$(printf '%bx' "$1"); n=${n%x}; }
mark() { stat -c '%i:%s:%y' "$1" 2>/dev/null; }
is() { [ "$(mark "$1")" = "$2" ]; }
stands() { [ -e "$1" ] || [ -L "$1" ]; }
shown() { stat -c "$1 %f %s %i:%s:%y" "$2"; }
over() { echo end; exit 0; }
failed() { step=$1; shift; set -- $*; echo "failed $step $*"; over; }
flush() { sync "$@" 2>/dev/null || sync; }
"""

CHECK = (
    _PROLOGUE
    + """
for each in "$@"; do
    command -v "$each" >/dev/null || echo "lacks $each"
done
over
"""
)

# root, a trial file or "", then folders from the deepest up to the root
LOOK = (
    _PROLOGUE
    + """
name "$1"; root=$n
[ -d "$root" ] || { echo missing; over; }
trial=$2
shift 2
for each in "$@"; do
    name "$each"
    [ -d "$n" ] && break
done
echo "folder $each"
folder=$n
stat -c 'root %f %u:%g' "$root/."
stat -f -c 'room %a %S' "$folder" 2>/dev/null
if [ -n "$trial" ]; then
    name "$trial"
    e=$({ cat </dev/null >"$n"; } 2>&1) || failed write "$e"
    rm -f "$n"
fi
over
"""
)

# root, path
FIND = (
    _PROLOGUE
    + """
name "$1"
[ -d "$n" ] || { echo missing; over; }
name "$2"
if stands "$n"; then shown found "$n"; fi
over
"""
)

# path. The library behind openssl knows the processor's own instructions: often five times the speed of sha256sum.
DIGEST = (
    _PROLOGUE
    + """
name "$1"
if [ -f "$n" ] && [ ! -L "$n" ]; then
    h=$(openssl dgst -sha256 -r <"$n" 2>/dev/null) || h=$(sha256sum <"$n" 2>/dev/null) || h=unknown
    echo "sha256 ${h%% *}"
fi
over
"""
)

# path; only the bytes, and no `end`
READ = (
    _PROLOGUE
    + """
name "$1"
[ -f "$n" ] && [ ! -L "$n" ] && exec cat "$n"
"""
)

# owner or "", mode, size, least room, name of the temporary file, then folders from the deepest up to the root; the
# bytes on stdin. If they end too early we are gone: nobody else would tidy up.
LAND = (
    _PROLOGUE
    + """
owner=$1 mode=$2 size=$3 least=$4 part=$5
shift 5
folder=
for each in "$@"; do
    name "$each"
    [ -z "$folder" ] && [ -d "$n" ] && folder=$n && chosen=$each
done
[ -d "$n" ] || { echo missing; over; }
echo "folder $chosen"
[ -n "$owner" ] || owner=$(stat -c %u:%g "$n/.")
set -- $(stat -f -c '%a %S' "$folder" 2>/dev/null)
if [ "$#" = 2 ] && [ "$(($1 * $2 - size))" -lt "$least" ]; then echo "room $(($1 * $2))"; over; fi
n=$folder/$part
e=$({ cat >"$n"; } 2>&1) || { rm -f "$n"; failed write "$e"; }
[ "$(stat -c %s "$n")" = "$size" ] || { rm -f "$n"; echo short; over; }
chown "$owner" "$n" 2>/dev/null || echo "not-owner $owner"
chmod "$mode" "$n" 2>/dev/null || echo "not-mode $mode"
flush "$n"
h=$(openssl dgst -sha256 -r <"$n" 2>/dev/null) || h=$(sha256sum <"$n" 2>/dev/null) || h=unknown
echo "sha256 ${h%% *}"
shown landed "$n"
over
"""
)

# temporary, its fingerprint, target, the fingerprint that may be replaced or "", owner, mode of new folders, folders
# from the top. A hard link is made or refused, with nothing in between; what cannot link takes a rename after a look.
NAME = (
    _PROLOGUE
    + """
move() { mv "-$1T" "$2" "$3" 2>/dev/null || mv "-$1" "$2" "$3"; }
name "$1"; t=$n; name "$3"; p=$n; here=$2; there=$4; owner=$5; mode=$6
shift 6
is "$t" "$here" || { echo changed; over; }
for each in "$@"; do
    name "$each"
    [ -d "$n" ] && continue
    e=$(mkdir "$n" 2>&1) || [ -d "$n" ] || failed folder "$e"
    chown "$owner" "$n" 2>/dev/null
    chmod "$mode" "$n" 2>/dev/null
    flush "${n%/*}/."
done
how=exclusive
if [ -d "$p" ] && [ ! -L "$p" ]; then
    echo taken; over
elif stands "$p"; then
    [ -n "$there" ] && is "$p" "$there" || { echo taken; over; }
    e=$(move f "$t" "$p" 2>&1) || failed rename "$e"
elif ln -T "$t" "$p" 2>/dev/null; then
    rm -f "$t"
else
    if stands "$p"; then echo taken; over; fi
    e=$(move n "$t" "$p" 2>&1) || failed rename "$e"
    if stands "$t"; then echo taken; over; fi
    how=checked
fi
flush "$p" "${p%/*}/."
echo "$how"
shown named "$p"
over
"""
)

# path, its fingerprint, a name to move it to for a last look
REMOVE = (
    _PROLOGUE
    + """
name "$1"; p=$n; name "$3"; a=$n
[ -f "$p" ] && is "$p" "$2" || over
e=$(mv -f "$p" "$a" 2>&1) || failed move "$e"
if is "$a" "$2"; then
    e=$(rm -f "$a" 2>&1) || failed remove "$e"
    flush "${p%/*}/."
    echo removed
else
    ln "$a" "$p" && rm -f "$a"
fi
over
"""
)

# root, pattern; what is found, each ended by a NUL, and no `end`
LEFTOVERS = (
    _PROLOGUE
    + r"""
name "$1"
find "$n/." -name "$2" -print0 2>/dev/null && exit 0
set +f
for each in "$n"/$2; do
    stands "$each" && printf '%s\0' "$each"
done
exit 0
"""
)

DROP = (
    _PROLOGUE
    + """
for each in "$@"; do
    name "$each"
    rm -f "$n"
done
over
"""
)


def encoded(path: str) -> str:
    """Return a path as `name` reads it."""
    return "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in os.fsencode(path))


def lines_of(stdout: str) -> dict[str, str] | None:
    """Return the result, each line by its first word; None if it was cut off."""
    lines = stdout.splitlines()
    if not lines or lines[-1] != END:
        return None
    return {word: rest for word, _, rest in (line.partition(" ") for line in lines[:-1])}
