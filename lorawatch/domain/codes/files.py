"""Codes of files: what they are, and why they are not delivered as they are. A pure table."""

from lorawatch.domain.codes.code import Code

FILE_CODES = (
    Code(
        "empty-file",
        "The file has no bytes: its writer was stopped before the first one, or the disk was full.",
        "Save the checkpoint again, or delete the file. The room on the disk: `df -h`.",
    ),
    Code(
        "truncated",
        "The file ends before its header says so: the trainer was killed during the save, or a copy broke off.",
        "Take another checkpoint, or copy the file again. It is looked at again as soon as it changes.",
    ),
    Code(
        "trailing-bytes",
        "Bytes follow after the last tensor. The official safetensors parser refuses such a file, so would ComfyUI.",
        "Save or copy it again; a newer file that is shorter may have been written over an older one.",
    ),
    Code(
        "zero-tail",
        "The last tensors end in zeros: the file has its full length, but was not written to its end.",
        "Save or copy it again. After a crash this is how a file looks whose last bytes never reached the disk.",
    ),
    Code(
        "header-invalid",
        "The official safetensors parser refuses the header, so ComfyUI would too.",
        "Save it again with a current safetensors library: `pip install -U safetensors`.",
    ),
    Code(
        "header-too-large",
        "The header is larger than inspect.max_header_bytes. That of a real LoRA is below 1 MB.",
        "Check where the file comes from. If it is right, raise `max_header_bytes` below [inspect].",
    ),
    Code(
        "duplicate-keys",
        "A name occurs twice in the header. Programs differ in which of the two they load.",
        "Save it again with a current safetensors library; do not use the file as it is.",
    ),
    Code(
        "no-tensors",
        "The header is valid, but the file holds no tensors: nothing was trained, or nothing was saved.",
        "Look into the trainer's log for the save, and save again.",
    ),
    Code(
        "unsafe-tensor-name",
        "A tensor has a name such as ../x or one with control characters, which no trainer gives.",
        "Do not use the file; get it again from a source that you trust.",
    ),
    Code(
        "not-safetensors",
        "The bytes are not those of a safetensors file, whatever its name says.",
        "See what it really is with `file NAME`, then save or download it again.",
    ),
    Code(
        "html-page",
        "The file is a web page, saved under the name of a model: the download asked for a login or failed.",
        "Download it again, signed in or with an access token: `curl -fL -H 'Authorization: Bearer TOKEN' -O URL`.",
    ),
    Code(
        "lfs-pointer",
        "The file is a Git LFS pointer: a few lines that name the model instead of the model.",
        "Fetch what it points to: `git lfs install && git lfs pull`.",
    ),
    Code(
        "pickle-file",
        "The file is a PyTorch checkpoint (.ckpt, .pt) renamed to .safetensors. Such files can run code when loaded.",
        "Convert it to safetensors with a program that you trust, such as the export of your trainer.",
    ),
    Code(
        "gguf-file",
        "The file is a quantised GGUF model. ComfyUI loads these elsewhere, never as a LoRA.",
        "Put it into ComfyUI's models/unet by hand, or keep GGUF files out of the watched directory.",
    ),
    Code(
        "not-a-regular-file",
        "Something with the name of a LoRA is a directory, a pipe or a device.",
        "Rename or move it, or add it to `exclude` below [watch].",
    ),
    Code(
        "symlink-outside",
        "The link leads out of the watched directory. It is not followed: anybody could point it anywhere.",
        "Watch the directory that it leads to, or put the file itself there.",
    ),
    Code(
        "symlink-dangling",
        "The link leads to a file that does not exist.",
        "Mend or remove it: `ls -l NAME` shows where it leads.",
    ),
    Code(
        "nonfinite",
        "The weights hold NaN or infinity: the training diverged. Pictures made with such a LoRA are black or noise.",
        'Take an earlier checkpoint and train with a lower rate. To have it all the same: `on_nonfinite = "warn"`.',
    ),
    Code(
        "zero-effect",
        "All weights of one half of the LoRA are zero, so it has no effect. It is delivered with this warning.",
        "Save after more steps, and check that the learning rate is not 0 and the layers are really trained.",
    ),
    Code(
        "family-conflict",
        "The metadata name another base model than the tensors fit, so ComfyUI may apply the LoRA to the wrong one.",
        "Trust the tensors; see both with `lorawatch check FILE`.",
    ),
    Code(
        "pair-incomplete",
        "Wan 2.2 needs a high-noise and a low-noise LoRA, and the other half has not come. This half is delivered.",
        "Wait for the trainer's second save, or copy the other half into the watched directory.",
    ),
    Code(
        "kind-not-wanted",
        "The file is not of a kind that is delivered: by default only LoRAs are, no embeddings and no whole models.",
        'Add its kind, for example `kinds = ["lora", "embedding"]`, below [inspect] or at a destination.',
    ),
    Code(
        "family-not-wanted",
        "No destination wants LoRAs for this base model.",
        "Add the family to the `families` of a destination, or remove that key there.",
    ),
    Code(
        "checkpoint-not-wanted",
        "The file is a step checkpoint that `checkpoints` leaves out.",
        'Write `checkpoints = "all"` below [watch], or deliver this one now: `lorawatch send FILE`.',
    ),
    Code(
        "no-destination",
        "No destination is enabled, or the file was there before lorawatch and `existing` is set to ignore.",
        'Set `enabled = true` at a destination, or `existing = "deliver"` below [watch]; or `lorawatch send FILE`.',
    ),
    Code(
        "file-missing",
        "There is no file at this path.",
        "See what is there: `ls DIRECTORY`. A relative path begins in the current directory.",
    ),
    Code(
        "rejected",
        "The file cannot be delivered as it is.",
        "See what is wrong with `lorawatch check FILE`; it is looked at again as soon as it changes.",
    ),
)

INCOMPLETE_CODES = (
    Code(
        "still-open",
        "A program still has the file open for writing, so it may not be complete.",
        "Let it finish. Who it is: `sudo fuser -v FILE`. It is delivered as soon as it is closed.",
    ),
    Code(
        "not-quiet",
        "The file has its full length, but nothing vouches that its writer is done; it must stand still for a while.",
        "Nothing; or shorten `quiet_seconds` below [watch].",
    ),
    Code(
        "unwritten-data",
        "The file has its full length, but parts of it were never written: a save was reserved and not finished.",
        "If the trainer was killed, save again or delete the file; otherwise wait for it.",
    ),
    Code(
        "file-unreadable",
        "The file could not be read: permission denied, or an error of its disk.",
        "See who may: `ls -l FILE`. With mode 0600 run lorawatch as the trainer's user; `lorawatch doctor` helps.",
    ),
    Code(
        "permission-denied",
        "lorawatch may not look into a directory or read a file there.",
        "See who may: `namei -l PATH`. A directory: `sudo setfacl -m u:lorawatch:rx DIRECTORY`. A file of mode 0600: "
        "`sudo lorawatch service install --user TRAINER`, or `--private-files`.",
    ),
    Code(
        "source-changed",
        "The file was replaced by a newer version before this one was delivered; the newer one is delivered instead.",
        "Nothing.",
    ),
    Code(
        "source-vanished",
        "The file was removed before it was delivered; trainers delete older checkpoints.",
        "Nothing; to keep more of them raise the number of saves that the trainer keeps.",
    ),
    Code(
        "superseded",
        "Newer checkpoints came before this one was begun, and only the latest few are wanted.",
        'Nothing; to have all of them write `checkpoints = "all"` below [watch].',
    ),
)
