"""Whole transcripts and tables, small, as the tools and data sets write them."""

import json

WORDS = [(0.0, 0.5, "Kids"), (0.5, 0.75, "are"), (1.0, 1.5, "talking")]

TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 2
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 2
            text = "K ""1"
    item [2]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2
        intervals: size = 5
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "Kids"
        intervals [2]:
            xmin = 0.5
            xmax = 0.75
            text = "are"
        intervals [3]:
            xmin = 0.75
            xmax = 1.0
            text = ""
        intervals [4]:
            xmin = 1.0
            xmax = 1.5
            text = "talking"
        intervals [5]:
            xmin = 1.5
            xmax = 2
            text = "<eps>"
"""
SHORT = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n1\n"IntervalTier"\n"words"\n0\n2\n4\n'
SHORT += '0\n0.5\n"Kids"\n0.5\n0.75\n"are"\n0.75\n1\n""\n1\n1.5\n"talking"\n'
VTT = """WEBVTT - made by hand

NOTE nothing

1
00:00.000 --> 00:01.500 align:start position:0%
<c> Kids</c><00:00:00.500><c> are</c><00:00:00.750><c> </c><00:00:01.000><c> talking</c>
"""
WHISPER = {
    "text": " Kids are talking",
    "language": "en",
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.5, "text": " Kids are talking",
         "words": [{"word": f" {word}", "start": start, "end": end, "probability": 0.9} for start, end, word in WORDS]}
    ],
}  # fmt: skip
CTM = ";; of a recogniser\na 1 0.00 0.50 Kids 0.9\na 1 0.50 0.25 are 0.8\na 1 1.00 0.50 talking 1.0\n"
WITH_TIMES = {
    "a.TextGrid": TEXTGRID.encode(),
    "b.TextGrid": SHORT.encode("utf-16"),
    "c.vtt": VTT.encode(),
    "d.json": json.dumps(WHISPER).encode(),
    "e.json": json.dumps({"text": "", "words": WHISPER["segments"][0]["words"]}).encode(),  # type: ignore[index]
    "f.ctm": CTM.encode(),
}
SRT = "1\n00:00:00,000 --> 00:00:01,500\nKids are\n<i>talking</i>\n\n2\n00:00:02,000 --> 00:00:03,000\nHallo\n"
TRANSCRIPTS = WITH_TIMES | {"g.srt": SRT.encode(), "h.txt": b"Kids are talking\n"}

LABELS = """id,start,end,speaker,split,emotion,text
v1,0,1.5,ann,train,happy,"Well, yes.
Indeed"
v1,1.5,3,ann,train,sad,no
v2,0.0,2,bob,dev,happy,
v3,0,2,cy,test,,hm
"""
INDEX = """file,start,end,speaker,emotion
audio/a.wav,0 days 00:00:00,0 days 00:00:01.500000,1,anger
audio/b.wav,0 days 00:00:00,0 days 00:00:02.250000,2,joy
"""
STEPS = "id,time,f0,loudness\na,0.0,100,1\na,0.1,nan,2\na,0.2,90,3\nb,0.0,80,4\n"
FUNCTIONALS = "file\tF0_mean\tF0_std\na.wav\t1.5\t2\nb.wav\t\t3\n"
WHOLE = "id,speaker,set,label,f1,f2\na,s,0,1,0.5,0.25\nb,t,1,0,0.5,0.25\nc,t,2,1,0.5,0.125\n"
TABLES = {
    "labels.csv": LABELS,
    "index.csv": INDEX,
    "steps.csv": STEPS,
    "functionals.tsv": FUNCTIONALS,
    "all.csv": WHOLE,
}

OPENFACE = """frame, face_id, timestamp, confidence, success, gaze_0_x, AU01_r
1, 0, 0.000, 0.98, 1, 0.25, 1.50
2, 0, 0.040, 0.03, 0, 0.00, 0.00
3, 0, 0.080, 0.93, 1, 0.50, 2.50
1, 1, 0.000, 0.98, 1, 9.00, 9.00
4, 0, 0.120, 0.20, 1, 0.75, 3.50
5, 0, 0.160, 0.98, 1, 1.00, 4.50
"""
SMILE = "name;frameTime;F0;loudness\n'a.wav';0.00;1.0;2\n'a.wav';0.01;nan;3\n'b.wav';0.00;4;5\n"
ARFF = """@relation openSMILE_features

@attribute name string
@attribute frameTime numeric
@attribute F0 numeric
@attribute class numeric

@data

'a.wav',0.00,1.5,?
'a.wav',0.01,2.5,?
'b, c.wav',0.00,4,?
"""
MELD = """Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime
1,"also I was, the point\x92s",Chandler,neutral,neutral,0,0,8,21,"00:16:16,059","00:16:21,731"
2,You must,The Interviewer,anger,negative,0,1,8,21,"00:16:21,940","00:16:23,442"
3,Oh!,Joey,joy,positive,1,0,8,21,"00:16:23,442","00:16:26,389"
"""
CREMAD = '"Stimulus_Number","Filename"\n1,"1001_DFA_ANG_XX"\n2,"1001_IEO_HAP_LO"\n3,"1002_DFA_NEU_XX"\n'
VOTES = (
    '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'
    '"1","1001_DFA_ANG_XX","A","60","N","62","A","67"\n"2","1001_IEO_HAP_LO","N:S","59","H","60","H","55"\n'
)
SIMS = """video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode
video_0001,0001,你好，是的,-0.4,-0.2,0.0,-0.8,Negative,train
video_0001,0002,好,0.6,0.2,0.4,0.8,Positive,valid
video_0002,0001,不,0.0,0.0,0.2,0,Neutral,test
"""
OF_TOOLS = {
    "face.csv": OPENFACE,
    "smile.csv": SMILE,
    "x.arff": ARFF,
    "meld.csv": MELD,
    "crema.csv": CREMAD,
    "s.csv": SIMS,
}
