import { S3Client, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';

const s3 = new S3Client({});

/** Stores a greeting, reads it back, and returns it. */
export const handler = async ({ name = 'world' }, context) => {
  const where = { Bucket: process.env.BUCKET, Key: `greetings/${name}.txt` };
  await s3.send(new PutObjectCommand({ ...where, Body: `Hello, ${name}!` }));
  const { Body } = await s3.send(new GetObjectCommand(where));
  const greeting = await Body.transformToString();
  console.info('greeted', { name, left: context.getRemainingTimeInMillis() });
  return { greeting, node: process.versions.node };
};
