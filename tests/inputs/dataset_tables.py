"""What is real of public datasets' layouts: rows of their events, labels of runs, lengths of runs and sounds.

Read from the datasets' own tables, lists of files and scripts; lengths of sounds follow from the sizes of the files.
"""

from __future__ import annotations

CD = 44100 * 4
"""Bytes per second of stereo sound at 44 100 Hz, 16 bit."""

DVD = 48000 * 4

MUSIC_GENRES = ("ambient", "country", "metal", "rocknroll", "symphonic")
MUSIC_COLUMNS = "onset duration run run_id volume run_volume stim genre delay catch sound_soa trigger_ts"


Row = tuple[float, float, str, str]
"""Onset, duration, trial_type, stim_file."""


def _story(name: str, *rows: tuple[float, float, str]) -> list[Row]:
    """Rows that name one file."""
    return [(onset, duration, kind, f"{name}_audio.wav") for onset, duration, kind in rows]


def _schema(*rows: tuple[float, float, str]) -> list[Row]:
    """Rows of films (without a name) and stories."""
    return [
        (onset, duration, "story" if name else "movie", f"{name}_audio.wav" if name else "n/a")
        for onset, duration, name in rows
    ]


NARRATIVES: dict[str, list[Row]] = {
    "sub-010_task-pieman_run-1": _story("pieman", (0.0, 13.0, "music"), (15.0, 422.0, "story")),
    "sub-010_task-pieman_run-2": _story("pieman", (0.0, 13.0, "music"), (15.0, 422.0, "story")),
    # the story row begins before the music row ends, as in an earlier version of the tables
    "sub-038_task-milkyway": _story("milkywayvodka", (0.0, 18.0, "music"), (15.0, 404.0, "story")),
    "sub-038_task-prettymouth": _story("prettymouth", (0.0, 18.0, "music"), (15.0, 676.0, "story")),
    "sub-049_task-schema_run-1": _schema(
        (5.0, 189.0, ""), (199.93, 163.0, "friends"), (369.17, 184.0, ""), (558.61, 171.0, "bigbang")
    ),
    "sub-049_task-schema_run-2": _schema(
        (5.0, 188.0, ""), (198.98, 169.0, "himym"), (374.14, 171.0, ""), (550.83, 175.0, "santa")
    ),
    "sub-049_task-schema_run-3": _schema(
        (5.0, 184.0, ""), (195.2, 175.0, "shame"), (375.77, 186.0, ""), (567.09, 173.0, "seinfeld")
    ),
    "sub-049_task-schema_run-4": _schema(
        (5.0, 185.0, ""), (195.9, 179.0, "vinny"), (380.18, 190.0, ""), (575.45, 187.0, "upintheair")
    ),
    "sub-127_task-black": _story("black", (12.0, 800.0, "story")),
    "sub-127_task-bronx": _story("bronx", (12.0, 536.0, "story")),
    "sub-127_task-forgot": _story("forgot", (12.0, 837.0, "story")),
    "sub-127_task-piemanpni": _story("piemanpni", (12.0, 400.0, "story")),
    "sub-127_task-shapessocial": _story("shapessocial", (4.5, 37.0, "music"), (49.5, 408.0, "story")),
    "sub-135_task-notthefallshortscram": _story("notthefallshortscram", (4.5, 22.0, "music"), (29.5, 547.0, "story")),
    "sub-135_task-slumlordreach": _story(
        "slumlordreach", (4.5, 22.0, "music"), (29.5, 903.0, "story"), (944.5, 22.0, "music"), (969.5, 825.0, "story")
    ),
    "sub-259_task-21styear": _story("21styear", (0.0, 18.0, "music"), (21.0, 3338.0, "story")),
}
"""Rows of ds002345 as they are there."""

NARRATIVES_SECONDS = {
    "pieman": 86400078 / DVD, "milkywayvodka": 84095504 / DVD, "slumlordreach": 317806028 / CD,
    "shapessocial": 87846990 / CD, "friends": 31486030 / CD, "black": 800.0,
}  # fmt: skip
"""Seconds of files whose sizes were seen; the others last as long as their rows say."""

HUTH_SESSIONS: dict[int, str] = {
    2: "alternateithicatom avatar legacy odetostepfather souls",
    3: "howtodraw life myfirstdaywiththeyankees naked undertheinfluence",
    4: "exorcism fromboyhoodtofatherhood sloth stagefright tildeath",
    5: "adollshouse adventuresinsayingyes buck haveyoumethimyet inamoment theclosetthatateeverything",
    6: "eyespy hangtime itsabox swimmingwithastronauts thatthingonmyarm",
    7: "breakingupintheageofgoogle onlyonewaytofindout penpal shoppinginchina treasureisland",
    8: "backsideofthestorm goingthelibertyway kiksuya sweetaspie thepostmanalwayscalls thetiniestbouquet",
    9: "becomingindian lifeanddeathontheoregontrail thefreedomridersandme thumbsup waitingtogo",
    10: "catfishingstrangerstofindmyself christmas1940 gpsformylostidentity singlewomanseekingmanwich "
    "superheroesjustforeachother whenmothersbullyback",
    11: "againstthewind bluehope forgettingfear ifthishaircouldtalk lifereimagined stumblinginthedark",
    12: "cocoonoflove comingofageondeathrow goldiethegoldfish leavingbaghdad quietfire",
    14: "afatherscover food mybackseatviewofagreatromance notontheusualtour reachingoutbetweenthebars "
    "wildwomenanddancingqueens",
    15: "beneaththemushroomcloud gangstersandcookies golfclubbing metsmagic threemonths vixenandtheussr",
    18: "birthofanation firetestforlove listo myfathershands theadvancedbeginner theshower",
    20: "cautioneating jugglingandjesus mayorofthefreaks thecurse theinterview thetriangleshirtwaistconnection",
}
"""Stories of sub-UTS01 by session; sessions 2 to 11 also have the test story, run-1 to run-10."""

HUTH_TEST = "wheretheressmoke"

HUTH_VOLUMES: dict[str, int] = {
    "alternateithicatom": 363, "souls": 375, "avatar": 387, "legacy": 420, "odetostepfather": 424,
    "undertheinfluence": 324, "howtodraw": 374, "myfirstdaywiththeyankees": 378, "naked": 442, "life": 450,
    "stagefright": 313, "tildeath": 343, "sloth": 457, "exorcism": 487, "haveyoumethimyet": 516, "adollshouse": 261,
    "inamoment": 225, "theclosetthatateeverything": 334, "adventuresinsayingyes": 411, "buck": 352,
    "swimmingwithastronauts": 405, "thatthingonmyarm": 454, "eyespy": 399, "itsabox": 375, "hangtime": 344,
    "breakingupintheageofgoogle": 541, "treasureisland": 414, "shoppinginchina": 357, "onlyonewaytofindout": 402,
    "penpal": 275, "goingthelibertyway": 414, "kiksuya": 352, "thepostmanalwayscalls": 474, "backsideofthestorm": 365,
    "sweetaspie": 177, "thetiniestbouquet": 191, "lifeanddeathontheoregontrail": 381, "thefreedomridersandme": 354,
    "thumbsup": 434, "becomingindian": 408, "waitingtogo": 369, "singlewomanseekingmanwich": 317,
    "whenmothersbullyback": 327, "superheroesjustforeachother": 345, "gpsformylostidentity": 346,
    "catfishingstrangerstofindmyself": 346, "christmas1940": 263, "stumblinginthedark": 509, "forgettingfear": 257,
    "bluehope": 429, "lifereimagined": 347, "ifthishaircouldtalk": 269, "againstthewind": 190, "goldiethegoldfish": 337,
    "quietfire": 475, "cocoonoflove": 449, "comingofageondeathrow": 369, "leavingbaghdad": 347,
    "mybackseatviewofagreatromance": 404, "reachingoutbetweenthebars": 316, "afatherscover": 332,
    "wildwomenanddancingqueens": 209, "notontheusualtour": 265, "food": 390, "vixenandtheussr": 411,
    "golfclubbing": 221, "beneaththemushroomcloud": 362, "threemonths": 373, "gangstersandcookies": 276,
    "metsmagic": 248, "myfathershands": 190, "theadvancedbeginner": 338, "firetestforlove": 338, "theshower": 412,
    "birthofanation": 284, "listo": 380, "thecurse": 427, "thetriangleshirtwaistconnection": 222,
    "mayorofthefreaks": 495, "cautioneating": 299, "theinterview": 241, "jugglingandjesus": 213,
    "wheretheressmoke": 311, "fromboyhoodtofatherhood": 368,
}  # fmt: skip
"""Volumes of 2 s of each story: derivatives/respdict.json of ds003020."""

HUTH_BYTES = {
    "penpal": 93670716,
    "cocoonoflove": 155185372,
    "wheretheressmoke": 106181968,
    "alternateithicatom": 124660160,
}

PRINCE: dict[str, tuple[tuple[float, ...], tuple[int, ...]]] = {
    "CN": (
        (564.9, 642.6, 643.7, 612.2, 584.5, 782.9, 726.6, 585.2, 801.1),
        (287, 326, 326, 311, 297, 396, 368, 297, 405),
    ),
    "EN": (
        (554.7, 587.8, 671.4, 598.2, 522.2, 678.1, 642.0, 575.8, 727.1),
        (286, 302, 344, 307, 269, 347, 329, 296, 372),
    ),
    "FR": (
        (613.5, 647.0, 702.2, 624.5, 580.8, 750.4, 658.5, 583.2, 667.9),
        (309, 326, 354, 315, 293, 378, 332, 294, 336),
    ),
}  # fmt: skip
"""Seconds of sound and raw volumes of 2 s of each section: README of ds003643."""

PRINCE_RUNS = {
    "sub-CN001": tuple(range(4, 13)),
    "sub-EN084": (9, 10, 13, 14, 15, 16, 17, 18, 19),
    "sub-FR001": tuple(range(1, 10)),
}
"""Run labels; those of sub-EN084 are the paper's example."""

HONG_KONG_BYTES = (26495734, 26184088, 26567466, 23947064)
"""Sizes of the four mono files of 44 100 Hz."""

SONGS_BYTES = {
    "All_Blues": 23676168, "Allegro_Moderato": 39511532, "Blue_Monk": 15734604, "Boogie_Stop_Shuffle": 39562124,
    "Capriccio_Espagnole": 15807512, "Change_of_the_Guard": 15649124, "Early_Summer": 23660900, "Finlandia": 39692160,
    "I_Love_Music": 31747804, "Island": 31740640, "Moonlight_Sonata": 31632032, "My_Favorite_Things": 39693776,
    "St_Pauls_Suite": 15880260, "Symphony_Fantastique": 23814836, "The_Bird": 31594108, "Waltz_of_Flowers": 23639360,
}  # fmt: skip
"""Sizes of the stereo files of 44 100 Hz of ds004007."""

SONGS_RUN_1 = (
    (0, 225, "Finlandia"), (225, 89, "Blue_Monk"), (314, 180, "I_Love_Music"), (494, 134, "Waltz_of_Flowers"),
    (628, 90, "Capriccio_Espagnole"), (718, 180, "Island"), (898, 134, "All_Blues"), (1032, 90, "St_Pauls_Suite"),
    (1122, 179, "Moonlight_Sonata"), (1301, 135, "Symphony_Fantastique"), (1436, 224, "Allegro_Moderato"),
    (1660, 89, "Change_of_the_Guard"), (1749, 224, "Boogie_Stop_Shuffle"), (1973, 225, "My_Favorite_Things"),
    (2198, 179, "The_Bird"), (2377, 134, "Early_Summer"),
)  # fmt: skip
"""sub-18, run-01."""

SONGS_RUN_2 = (
    (0, 90, "St_Pauls_Suite"), (90, 180, "I_Love_Music"), (270, 179, "Moonlight_Sonata"),
    (449, 89, "Change_of_the_Guard"), (538, 134, "Waltz_of_Flowers"), (672, 179, "The_Bird"), (851, 180, "Island"),
    (1031, 224, "Allegro_Moderato"), (1255, 225, "Finlandia"), (1480, 134, "Early_Summer"),
    (1614, 90, "Capriccio_Espagnole"), (1704, 135, "Symphony_Fantastique"), (1839, 224, "Boogie_Stop_Shuffle"),
    (2063, 225, "My_Favorite_Things"), (2288, 89, "Blue_Monk"), (2377, 134, "All_Blues"),
)  # fmt: skip
"""sub-12, run-02."""
