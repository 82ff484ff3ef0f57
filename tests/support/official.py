"""Small annotation files in the official formats, each with the public file in which the format was seen."""

from collections.abc import Mapping

Files = Mapping[str, str]

# github.com/yjxiong/temporal-segment-networks, data/ucf101_splits (the files of the official archive, with CRLF)
UCF101: Files = {
    "classInd.txt": "1 ApplyEyeMakeup\r\n2 YoYo\r\n",
    "trainlist01.txt": (
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi 1\r\n"
        "YoYo/v_YoYo_g25_c04.avi 2\r\n"
    ),
    "testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\nYoYo/v_YoYo_g07_c03.avi\r\n",
    "trainlist02.txt": "YoYo/v_YoYo_g07_c03.avi 2\r\n",
    "testlist02.txt": "YoYo/v_YoYo_g25_c04.avi\r\n",
}

# the same repository, data/hmdb51_splits (a blank ends every line)
HMDB51: Files = {
    "class_list.txt": "brush_hair\ncartwheel\n",
    "brush_hair_test_split1.txt": (
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \nApril_09_brush_hair_u_nm_np1_ba_goo_1.avi 0 \n"
        "red_head_brush_hair_u_cm_np1_le_goo_2.avi 2 \n"
    ),
    "cartwheel_test_split1.txt": "turnles!!_cartwheel_f_cm_np10_ri_med_3.avi 2 \n",
    "brush_hair_test_split2.txt": "red_head_brush_hair_u_cm_np1_le_goo_2.avi 1 \n",
}

# github.com/hibana2077/TC-BombKD, docs/new_dataset.md; read so by github.com/open-mmlab/mmaction2 too
DIVING48: Files = {
    "Diving48_V2_train.json": (
        '[{"vid_name": "-mmq0PT-u8k_00155", "label": 0, "start_frame": 0, "end_frame": 48},\n'
        ' {"vid_name": "2x00lRzlTVQ_00000", "label": 1, "start_frame": 0, "end_frame": 70}]'
    ),
    "Diving48_V2_test.json": '[{"vid_name": "-mmq0PT-u8k_00156", "label": 0, "start_frame": 0, "end_frame": 70}]',
    "Diving48_vocab.json": '[["Back", "15som", "05Twis", "FREE"], ["Back", "15som", "15Twis", "FREE"]]',
}

# the same page of github.com/hibana2077/TC-BombKD
SSV2: Files = {
    "labels.json": '{"Holding something next to something": "0", "Moving something up": "1"}',
    "train.json": (
        '[{"id":"78687","label":"holding a cup next to a box","template":"Holding [something] next to [something]",'
        '"placeholders":["a cup","a box"]}]'
    ),
    "something-something-v2-validation.json": (
        '[{"id":"117478","label":"moving a jar up","template":"Moving [something] up","placeholders":["a jar"]}]'
    ),
    "test.json": '[{"id":"1420"},{"id":"50058"}]',
    "test-answers.csv": "1420;Moving something up\n",
}

# github.com/activitynet/ActivityNet, Crawler/Kinetics/data: kinetics-400_val.csv, kinetics-600_test.csv; that of 700
# says `validate`
KINETICS: Files = {
    "kinetics-400_val.csv": (
        "label,youtube_id,time_start,time_end,split,is_cc\nabseiling,0wR5jVB-WPk,417,427,val,0\n"
        '"air drumming",_dbcJuKJQNs,40,50,val,0\n'
    ),
    "train.csv": "label,youtube_id,time_start,time_end,split\nabseiling,7pRfb0t34uo,158,168,train\n",
    "validate.csv": "label,youtube_id,time_start,time_end,split\nwashing feet,--GkrdYZ9Tc,0,10,validate\n",
    "kinetics-600_test.csv": "youtube_id,time_start,time_end,split\nLAcSOxdNrmI,61,71,test\n",
}

# github.com/epic-kitchens/epic-kitchens-100-annotations
EPIC100: Files = {
    "EPIC_100_validation.csv": (
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
        "stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
        "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,take plate,take,0,plate,2,['plate'],[2]\n"
        "P01_11_1,P01,P01_11,00:00:01.700,00:00:00.00,00:00:01.45,93,147,"
        '"put down plate, cup",put-down,1,plate,2,"[\'plate\', \'cup\']","[2, 13]"\n'
    ),
    "EPIC_100_test_timestamps.csv": (
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
        "stop_frame\nP01_101_0,P01,P01_101,00:00:02.851,00:00:02.86,00:01:03.87,143,193\n"
    ),
    "EPIC_100_verb_classes.csv": (
        "id,key,instances,category\n0,take,\"['collect-from', 'take']\",retrieve\n1,put,\"['put-down']\",leave\n"
    ),
    "EPIC_100_noun_classes.csv": "id,key,instances,category\n2,plate,\"['plate']\",crockery\n",
}

# github.com/Shriya-20/Gesture-Recogniton-in-Game-Development, annotations; its training table comes with commas
JESTER: Files = {
    "jester-v1-labels.csv": "Swiping Left\nThumb Up\n",
    "jester-v1-train.csv": "34870,Drumming Fingers\n56557,Sliding Two Fingers Right\n",
    "jester-v1-validation.csv": "9223;Thumb Up\n",
    "jester-v1-test.csv": "109621\n",
}

# github.com/WingsBrokenAngel/MSR-VTT-DataCleaning, clean_process/*.zip.
# The table of 1k-A: github.com/minhhieu121/AIC_benchmark, MSRVTT_JSFUSION_test.csv (elsewhere with commas)
MSRVTT: Files = {
    "category.txt": "music\t0\r\nvehicles/autos\t9\r\n",
    "train_val_videodatainfo.json": (
        '{"info": {"version": "1.0"}, "videos": ['
        '{"category": 9, "url": "https://www.youtube.com/watch?v=a", "video_id": "video0", "start time": 137.72,'
        ' "end time": 149.44, "split": "train", "id": 0},'
        '{"category": 0, "url": "https://www.youtube.com/watch?v=b", "video_id": "video6513", "start time": 0.0,'
        ' "end time": 9.5, "split": "validate", "id": 6513}],'
        ' "sentences": [{"caption": "a car drives", "video_id": "video0", "sen_id": 0},'
        ' {"caption": "a man sings", "video_id": "video6513", "sen_id": 1},'
        ' {"caption": "a red car", "video_id": "video0", "sen_id": 2}]}'
    ),
    "test_videodatainfo.json": (
        '{"info": {}, "videos": [{"category": 9, "url": "https://www.youtube.com/watch?v=a", "video_id": "video7010",'
        ' "start time": 1.0, "end time": 2.0, "split": "test", "id": 7010}],'
        ' "sentences": [{"caption": "a truck", "video_id": "video7010", "sen_id": 3},'
        ' {"caption": "a lorry", "video_id": "video7010", "sen_id": 4}]}'
    ),
    "MSRVTT_JSFUSION_test.csv": "key;vid_key;video_id;sentence\nret0;msr7010;video7010;a lorry\n",
}

# AllVideoDescriptions.txt: github.com/MRSA-J/Youtube-Teller, README.md. The table's header: code of
# github.com/mcislab-machine-learning/MSVD-CN.
MSVD: Files = {
    "AllVideoDescriptions.txt": (
        "# Descriptions, collected by workers\n\n"
        "mv89psg6zh4_33_46 a bird in a sink\nmv89psg6zh4_33_46 a faucet and a bird\n_y-uffFT2BW_0_8 someone cooks\n"
    ),
    "youtube_mapping.txt": "mv89psg6zh4_33_46 vid1200\n_y-uffFT2BW_0_8 vid1301\n",
}
MSVD_TABLE: Files = {
    "video_corpus.csv": (
        "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"
        'mv89psg6zh4,33,46,588702,unverified,55,English,"A bird, in a sink"\n'
        "mv89psg6zh4,33,46,362812,unverified,55,Slovene,Papagaj\n"
        "mv89psg6zh4,50,60,588702,unverified,55,English,\n"
        "_y-uffFT2BW,0,8,968828,clean,95,English,Someone cooks\n"
    ),
    "test_list.txt": "mv89psg6zh4_33_46\n",
}

# github.com/kanik155/webvid, results_2M_val.csv; newer ones have the columns videoid,contentUrl,duration,page_dir,name
WEBVID: Files = {
    "results_2M_val.csv": (
        "videoid,name,page_idx,page_dir,duration,contentUrl\n"
        '1053841541,"A bird, in a sink.",27732,027701_027750,PT00H00M17S,https://example.org/a.mp4\n'
    ),
    "results_2M_train.csv": (
        "videoid,contentUrl,duration,page_dir,name\n21179416,https://example.org/b.mp4,PT00H00M11S,006001_006050,Aerial\n"
    ),
}
