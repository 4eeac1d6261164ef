"""Small data in the layouts in which the image benchmarks are published; the contents are ours."""

import base64
import csv
import io
import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

RED, GREEN, BLUE = (200, 30, 30), (30, 160, 60), (40, 60, 200)


def write_picture(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), colour).save(path)


def encoded(colour: tuple[int, int, int], image_format: str = "PNG") -> str:
    """Return a picture as base64."""
    file = io.BytesIO()
    Image.new("RGB", (12, 10), colour).save(file, image_format)
    return base64.b64encode(file.getvalue()).decode()


def write_tsv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a table with the columns of all rows, as pandas' `to_csv` does."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def shifted(index: int, answer: str, options: Sequence[str], **others: str) -> list[dict[str, Any]]:
    """Return a question's rows for circular evaluation: each shifts the options by one."""
    letters = "ABCD"[: len(options)]
    right = letters.index(answer)
    rows = []
    for shift in range(len(options)):
        turned = [options[(position + shift) % len(options)] for position in range(len(options))]
        rows.append(
            {
                "index": index + shift * 1_000_000,
                **others,
                **dict(zip(letters, turned, strict=True)),
                "answer": letters[(right - shift) % len(options)],
                "image": others["image"] if shift == 0 else str(index),
            }
        )
    return rows


COLOUR = shifted(
    3, "B", ["red", "green", "blue"],
    question="Which colour?", hint="Look well.", image=encoded(GREEN),
    **{"category": "colour", "l2-category": "attributes"},
)  # fmt: skip
SHAPE = shifted(
    4, "A", ["a square", "a ball"],
    question="Which shape?", image=encoded(RED, "JPEG"),
    **{"category": "shape", "l2-category": "attributes"},
)  # fmt: skip


def mmbench(folder: Path) -> Mapping[str, Any]:
    """Write two questions, first both as they are, then their copies."""
    rows = sorted([*COLOUR, *SHAPE], key=lambda row: row["index"])
    return {"file": write_tsv(folder / "MMBench_DEV_EN.tsv", rows)}


def vlmevalkit_tsv(folder: Path) -> Mapping[str, Any]:
    """Write a question with options, one on two pictures, and one answered by three people."""
    red, blue = encoded(RED), encoded(BLUE)
    rows = [
        {"index": 1, "question": "Which?", "A": "red", "B": "blue", "answer": "A", "image": red},
        {"index": 2, "question": "Same?", "answer": "no", "image": str([red, blue])},
        {"index": 3, "question": "Colour?", "answer": "['blue', 'navy', 'blue']", "image": blue},
    ]
    return {"file": write_tsv(folder / "own.tsv", rows)}


def mme(folder: Path) -> Mapping[str, Any]:
    """Write a subtask with folders of its own and one without, two pictures each."""
    for subtask, pictures, texts in (
        ("existence", "", ""),
        ("posters", "images", "questions_answers_YN"),
    ):
        for name in ("001", "002"):
            write_picture(folder / subtask / pictures / f"{name}.png", RED)
            file = folder / subtask / texts / f"{name}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text(
                f"Is picture {name} red? Please answer yes or no.\tYes\n"
                f"Is picture {name} blue? Please answer yes or no.\tNo\n\n"
            )
    return {"folder": folder, "subtasks": ["existence", "posters"]}


MM_VET = {
    "v1_0": {
        "imagename": "v1_0.png", "question": "What is x?", "answer": "-1<AND>-5",
        "imagesource": "own", "capability": ["ocr", "math"],
    },
    "v1_1": {
        "imagename": "v1_1.png", "question": "What stands there?",
        "answer": "table lamp<OR>desk lamp", "imagesource": "own", "capability": ["rec"],
    },
    "v1_2": {
        "imagename": "v1_1.png", "question": "How much is it?", "answer": "1.25",
        "imagesource": "own", "capability": ["math", "ocr", "rec"],
    },
}  # fmt: skip


def mm_vet(folder: Path) -> Mapping[str, Any]:
    """Write three questions on two pictures."""
    write_json(folder / "mm-vet.json", MM_VET)
    for name in ("v1_0.png", "v1_1.png"):
        write_picture(folder / "images" / name, GREEN)
    return {"folder": folder}


def llava_bench(folder: Path) -> Mapping[str, Any]:
    """Write three questions on two pictures, with GPT-4's answers and descriptions."""
    kinds = ("conv", "detail", "complex")
    questions = ("What is it?", "Describe it.", "Why is it blue?")
    answers = ("A green field.", "All of it is green.", "It may be the sky.")
    images = ("001.jpg", "001.jpg", "002.jpg")
    rows = list(zip(range(3), images, questions, kinds, answers, strict=True))
    write_lines(
        folder / "questions.jsonl",
        [{"question_id": n, "image": i, "text": q, "category": k} for n, i, q, k, _ in rows],
    )
    write_lines(
        folder / "answers_gpt4.jsonl",
        [
            {"question_id": n, "prompt": q, "answer_id": f"x{n}", "model_id": "gpt-4", "text": a}
            for n, _, q, _, a in rows
        ],
    )
    write_lines(
        folder / "context.jsonl",
        [
            {"id": "001", "image": "001.jpg", "caption": "Green, all over."},
            {"id": "002", "image": "002.jpg", "caption": ["One line.", "Another."]},
        ],
    )
    for name, colour in (("001.jpg", GREEN), ("002.jpg", BLUE)):
        write_picture(folder / "images" / name, colour)
    return {"folder": folder}


def gqa_question(answer: str, structural: str, image: str = "n1", **changes: Any) -> dict[str, Any]:
    return {
        "semantic": [], "entailed": [], "equivalent": [], "annotations": {},
        "question": f"Is it {structural}?", "imageId": image, "answer": answer, "isBalanced": True,
        "groups": {"global": None, "local": "x"}, "semanticStr": "", "fullAnswer": f"{answer}.",
        "types": {"detailed": "d", "semantic": "attr", "structural": structural},
        **changes,
    }  # fmt: skip


GQA = {
    "201307251": gqa_question("yes", "verify"),
    "201640614": gqa_question("pizza", "query"),
    "202225914": gqa_question("left", "choose", image="n2"),
    "209": gqa_question("no", "logical", isBalanced=False),
}


def gqa(folder: Path) -> Mapping[str, Any]:
    """Write three balanced questions on two pictures, and one that is not."""
    for name in ("n1", "n2"):
        write_picture(folder / "images" / f"{name}.jpg", BLUE)
    file = write_json(folder / "testdev_balanced_questions.json", GQA)
    return {"file": file, "images": folder / "images"}


def said(*values: str) -> list[dict[str, str]]:
    """Return turns of a conversation."""
    return [
        {"from": "gpt" if number % 2 else "human", "value": value}
        for number, value in enumerate(values)
    ]


def conversations(folder: Path, entries: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Write a file of conversations and two pictures; return its options."""
    for name in ("coco/train2017/1.png", "gqa/images/2.png"):
        write_picture(folder / "data" / name, GREEN)
    return {
        "file": write_json(folder / "llava.json", list(entries)),
        "images": folder / "data",
    }


DESCRIPTIONS = [
    {
        "id": "1", "image": "coco/train2017/1.png",
        "conversations": said("What do you see?\n<image>", "A green square. Nothing else."),
    },
    {
        "id": "2", "image": "gqa/images/2.png",
        "conversations": said("<image>\nDescribe it.", "All of it is green."),
    },
]  # fmt: skip


def llava_description(folder: Path) -> Mapping[str, Any]:
    """Write two descriptions."""
    return conversations(folder, DESCRIPTIONS)


CONVERSATIONS = [
    {
        "id": "1", "image": "coco/train2017/1.png",
        "conversations": said("<image>\nWhat colour?", "Green.", "Is it round?", "Not at all."),
    },
    {"id": "7", "conversations": said("Tell me a joke.", "No.")},
    {
        "id": "1", "image": "gqa/images/2.png",
        "conversations": said("Which form?\n<image>", "A square."),
    },
]  # fmt: skip


def llava_instruct(folder: Path) -> Mapping[str, Any]:
    """Write two conversations about pictures, under one id, and one about none."""
    return conversations(folder, CONVERSATIONS)


def milebench_set(
    question_type: str, responses: Sequence[str], choices: Sequence[str] = (), num_images: int = 2
) -> dict[str, Any]:
    """Return the content of a data set's file, one sample for each response."""
    options = {"choice_list": list(choices)} if choices else {}
    return {
        "meta_data": {
            "dataset": "own",
            "task_instruction": ["Look.", "Watch."],
            "question_type": question_type,
        },
        "data": [
            {
                "sample_id": number,
                "task_instruction_id": number % 2,
                "task_instance": {
                    "context": f"{{image#1}}before {{image#2}}after. What changed in {number}?",
                    "images_path": [f"{picture}.png" for picture in range(num_images)],
                    **options,
                },
                "response": response,
                "image_quantity_level": "Few",
            }
            for number, response in enumerate(responses)
        ],
    }


MILEBENCH = {
    "ActionSequence": milebench_set(
        "multi-choice", ["It fell.", "Nothing"], ["Nothing", "It fell"]
    ),
    "IEdit": milebench_set("open-ended", ["The sky is darker now"]),
    "TextNeedleInAHaystack": milebench_set("open-ended", ["4711"]),
    "MMCoQA": milebench_set("open-ended", ["the old bridge"]),
    "GPR1200": milebench_set("multi-choice", ["dog 30"], [f"dog {n:02d}" for n in range(40)], 7),
}


def milebench(folder: Path) -> Mapping[str, Any]:
    """Write five data sets of five kinds."""
    for name, content in MILEBENCH.items():
        write_json(folder / name / f"{name}.json", content)
        for number in range(7):
            write_picture(folder / name / "images" / f"{number}.png", RED)
    return {"folder": folder, "datasets": list(MILEBENCH)}


def png_of(width: int, height: int) -> bytes:
    """Return a PNG whose header promises a size, and little else."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def easy_vqa(folder: Path) -> Mapping[str, Any]:
    """Write three questions on two pictures for the test split, and one for the train split."""
    for split, questions in {
        "train": [["is there a green shape?", "yes", 0]],
        "test": [
            ["what shape is present?", "circle", 0],
            ["is there not a red shape?", "no", 0],
            ["what is the color of the triangle?", "blue", 7],
        ],
    }.items():
        write_json(folder / split / "questions.json", questions)
        for number in {image for _, _, image in questions}:
            write_picture(folder / split / "images" / f"{number}.png", BLUE)
    return {"folder": folder}
